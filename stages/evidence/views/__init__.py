"""What a model is shown: which frames, what is drawn on them, and what is said of the candidates.

scene.py    what views draw from          numbered.py   outlines and numbers on shared frames
view.py     what a view is                card.py       crops and a trajectory as text
compose.py  several views together        facts.py      the course in computed words
keyframes.py  which frames                course.py, pairs.py, camera.py   what facts are computed from
video.py    a scene from the cache
"""
