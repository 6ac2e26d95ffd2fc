"""Training of the embedded MLLM: a tiny Qwen3-VL that judges candidates by the views `card` and `facts`.

recipe.py    every number                            packing.py     many questions behind one context
records.py   what training keeps of a video          vision.py      cards in the vision tower, heads of the first stage
generate.py  endless scenes with a tracker's errors  initialise.py  start values
tracked.py   tracks of SAM2 from a cache             training.py    the task, and how the model is stored
truth.py     what is true of candidates              evaluate.py    figures on held-out videos
scenes.py    scenes, kept as files                  __main__.py    the command; card.md: the card's text
questions.py what can be asked, with answers        draws.py, items.py, losses.py   what a step draws, asks and learns
batches.py   a step's batch, ready for the model    ahead.py       batches made before their steps by other processes
"""
