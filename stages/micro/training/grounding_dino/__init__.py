"""Training of the micro GroundingDINO on frames of the embedded world with captions of its grammar.

recipe.py      every number             forward.py   the model's own forward, with more queries
scenes.py      frames and boxes         losses.py    matching of queries to objects, and the loss terms
captions.py    captions, noun phrases   heads.py     auxiliary heads, discarded afterwards
batches.py     tensors of a step        training.py  the task, and how the model is stored
initialise.py  initial weights          __main__.py  the command
evaluate.py    held-out figures         card.md      the card's text
"""
