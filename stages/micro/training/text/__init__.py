"""Training of the micro text encoder: sentences against what they say, and probes of what can be read from it.

recipe.py    every number          states.py   what a sentence says, as a vector
training.py  model, step, loop     probes.py   linear probes on held-out sentences
card.py      the card
"""
