"""Training of the micro text encoder: sentences against what they say, and probes of what can be read from it.

recipe.py    every number                            probes.py    linear probes on held-out sentences
states.py    what a sentence says, as a vector       __main__.py  the command
training.py  the task, and how the model is stored   card.md      the card's text
"""
