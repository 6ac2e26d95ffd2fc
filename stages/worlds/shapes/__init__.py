"""The embedded data set: generated clips of moving shapes, with true sentences about them.

scene.py    what a clip holds           facts.py      trajectories, and what of them is visible
motion.py   trajectories of one object  words.py      what one object does: true, false or unclear
pairs.py    trajectories of two         relations.py  the same of two
sample.py   random scenes               clauses.py    how the statements are worded
outlines.py exact masks                 meaning.py    which objects a description fits
background.py, draw.py   frames         grammar.py    sentences and what they refer to
clip.py     clips in memory             statements.py single facts, to train on beside the sentences
write.py    the MeViS v2 layout         long.py       long videos, in that of Long-RVOS
statistics.py, sheet.py  for people

    clip = sample_clip(rng, n_frames=12, size=(128, 128))      # frames, masks, scene: for training
    scene = sample_scene(rng, 22, (128, 128)); draw_clip(rng, scene); sample_sentences(rng, scene)
"""

from stages.worlds.shapes.clip import Clip, draw_clip, sample_clip
from stages.worlds.shapes.grammar import Sentence, sample_sentences
from stages.worlds.shapes.sample import sample_scene
from stages.worlds.shapes.scene import Scene, Thing
from stages.worlds.shapes.statements import sample_statements

__all__ = [
    "Clip",
    "Scene",
    "Sentence",
    "Thing",
    "draw_clip",
    "sample_clip",
    "sample_scene",
    "sample_sentences",
    "sample_statements",
]
