"""Training of the embedded [SEG] model: a tiny Qwen3-VL that sees whole frames, and SAM2's mask decoder behind it.

recipe.py    every number                        heads.py     what is learnt beside masks, and discarded
scenes.py    what training keeps of a scene      training.py  the task
phrases.py   sentences of a step                 store.py     the model's folder, as family qwen3_vl has it
cells.py     what is where, by image tokens      evaluate.py  figures on held-out scenes and on splits of `shapes`
batches.py   a step's batch                      __main__.py  the command; card.md: the card's text
forward.py   frames and sentences → [SEG] states → masks, many videos at once
"""
