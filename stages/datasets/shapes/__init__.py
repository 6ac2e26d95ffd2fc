"""The embedded data set: generated clips of moving shapes with sentences that are true of them.

motion.py   paths of centres        draw.py     exact masks, and frames
scene.py    what a clip holds       meaning.py  what words mean on a scene: true, false or unclear
sample.py   random scenes           grammar.py  sentences and what they refer to
write.py    the MeViS v2 layout
"""
