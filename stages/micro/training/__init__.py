"""Trains the micro SAM2 from scratch on clips of the embedded data set (`python -m stages.micro.training.sam2`).

recipe.py      every number of the training     clips.py       clips, and views of them
batches.py     prompted images and videos       initialise.py  what breaks the plateau at the start
forward.py     the training-side forward pass   heads.py       auxiliary heads, thrown away afterwards
losses.py      what is minimised                checkpoint.py  averaged weights, exact resume
loop.py        the loop                         evaluate.py    held-out figures
prompted.py    … of boxes, points, grids        probes.py      what pointers tell a linear reader
card.py        the card of a model              sam2.py        the command
"""
