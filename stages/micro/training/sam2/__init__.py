"""Training of the micro SAM2 on clips of the embedded world.

recipe.py      every number                    forward.py   the training-side forward pass
clips.py       clips, and views of them        losses.py    the loss terms
batches.py     prompted images and videos      heads.py     auxiliary heads, discarded afterwards
initialise.py  initial weights                 training.py  the task, and how weights are stored
tracked.py     held-out figures of tracks      __main__.py  the command
prompted.py    … of boxes, points, grids       card.md      the card's text
probes.py      what a linear probe reads from pointers
"""
