"""Trains the micro models from scratch on the embedded data set; nothing is read but its generator.

    python -m stages.micro.training.sam2              python -m stages.micro.training.grounding_dino
    python -m stages.micro.training.text

Of all: schedule.py (length, loop, learning curve), resume.py (checkpoints, averaged weights), sentences.py (endless
sentences with what they say). Of GroundingDINO and the text encoder: the packages of these names. Of SAM2:

recipe.py      every number of the training     clips.py       clips, and views of them
batches.py     prompted images and videos       initialise.py  what breaks the plateau at the start
forward.py     the training-side forward pass   heads.py       auxiliary heads, thrown away afterwards
losses.py      what is minimised                checkpoint.py  the state, and how weights are stored
loop.py        one step                         evaluate.py    held-out figures
prompted.py    … of boxes, points, grids        probes.py      what pointers tell a linear reader
card.py        the card of a model              sam2.py        the command
"""
