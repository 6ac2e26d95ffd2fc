"""A split with tracks and scores in its cache, without any model: what decisions are made from; and detections in it."""

from pathlib import Path

from support.evidence import CAPTIONS, SIZE, VIDEOS, layout_of, write_frames, write_index, write_scores, write_source

from stages.core.media import masks
from stages.core.state.cache import Stamp
from stages.core.state.graph import BUILD_TRACKS, GENERATE_PROMPTS
from stages.core.state.prompt_file import Prompt, write_prompts
from stages.core.state.track_file import read_masks

N_TRACKS = {"v": {"grid": 3, "gdino": 1}, "empty": {"grid": 0, "gdino": 0}}
DETECTOR = {"kind": "detector", "source": "gdino", "match_iou": 0.5, "pool": "best"}
NO_BOX = (0.0, 0.0, 1.0, 1.0)


def write_split(root: Path) -> None:
    write_index(root, CAPTIONS)
    layout = layout_of(root)
    for video in VIDEOS:
        write_frames(layout, video)
        for source, n in N_TRACKS[video].items():
            write_source(layout, video, source, n)
        write_scores(layout, video, N_TRACKS[video])


def write_detections(root: Path, first: float = 0.75) -> None:
    """Prompts of expression 0 for both visible tracks of `grid`, of 2 for the first of them, and of 1 for nothing."""
    layout = layout_of(root)
    one, two = read_masks(layout.file(BUILD_TRACKS, "v", "grid"), [0, 1])
    prompts = [
        Prompt(0, one[0], NO_BOX, 0, box_score=first),
        Prompt(2, one[2], NO_BOX, 0, box_score=0.25),
        Prompt(2, two[2], NO_BOX, 0, box_score=0.5),
        Prompt(3, one[3], NO_BOX, 2, box_score=1.0),
        Prompt(3, masks.empty(SIZE), NO_BOX, 1, box_score=0.875),
    ]
    stamp = Stamp(GENERATE_PROMPTS.name, GENERATE_PROMPTS.version, {"first": first})
    write_prompts(layout.file(GENERATE_PROMPTS, "v", "gdino"), stamp, prompts, SIZE)
    write_prompts(layout.file(GENERATE_PROMPTS, "empty", "gdino"), stamp, [], SIZE)
