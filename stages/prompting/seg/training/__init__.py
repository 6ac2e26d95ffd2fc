"""Training of [SEG] models, in the variant of `prompts.seg`: what train_seg does.

data.py      videos, frames and truth of splits      trained.py  which weights change; LoRA
order.py     the sentences of each step              task.py     a step, the epochs
learning.py  the losses of sentences about a video   session.py  one training from start to end
spoken.py    forced answers                          export.py   the trained model in its family's naming
points.py, losses.py   points of masks, and what is compared there
"""
