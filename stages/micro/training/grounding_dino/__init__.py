"""Training of the micro GroundingDINO on frames of the embedded world with captions of its grammar.

recipe.py      every number           forward.py     the model's own forward, with more queries
scenes.py      frames and boxes       matching.py    which query means which object
captions.py    captions, noun phrases losses.py      what is minimised
batches.py     tensors of a step      heads.py       auxiliary heads
initialise.py  the start              training.py    state, step, loop
evaluate.py    held-out figures       card.py        the card
"""
