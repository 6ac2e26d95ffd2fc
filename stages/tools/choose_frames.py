"""Chooses the frames of a split's videos that fit each sentence best, by CLIP: the file of prompts.seg.chosen_frames.

    referee choose-frames --dataset mevis --split valid_u --clip CLIP_FOLDER --out best.json

Reads:  frame folders of extract_frames, and a CLIP of transformers' layout (as openai/clip-vit-large-patch14-336).
Writes: --out, {video: {"selected_frames": {expression: [frames]}}}. Variant vrs_hq takes one frame per sentence, mode q_frame
        of sasasa2va 100 (--count 100); Q-Frame itself draws its frames at random by their fit, and here the best are taken.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from stages.core.config.places import check_output
from stages.core.run.cli import Job, at_least, execute, parse_job, split_parser
from stages.core.run.devices import lease_device
from stages.core.state.cache import atomic_path
from stages.core.state.frames import open_frames
from stages.core.state.marks import refuse_output
from stages.datasets import open_split


def run(job: Job, clip: Path, count: int, out: Path) -> None:
    """Writes `out`."""
    from stages.prompting.seg.fitting import FrameFitter, best_frames

    check_output(job.config, out)
    refuse_output(out)
    document: dict[str, dict[str, dict[str, list[int]]]] = {}
    videos = open_split(job.config, job.dataset, job.split).videos()[: job.limit]
    with lease_device(job.settings.run) as device:
        fitter = FrameFitter.load(clip, device)
        for video in videos:
            asked = [expression for expression in video.expressions if expression.has_word]
            fit_ET = fitter.fit(open_frames(job.layout, video.id), [e.text for e in asked])
            best = {e.id: best_frames(fit_T, count) for e, fit_T in zip(asked, fit_ET, strict=True)}
            document[video.id] = {"selected_frames": best}
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(document) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = split_parser(__doc__)
    add = parser.add_argument
    add("--clip", type=Path, required=True, metavar="FOLDER", help="folder of the CLIP")
    add("--count", type=at_least(1), default=1, metavar="N", help="frames per sentence (default: 1)")
    add("--out", type=Path, required=True, metavar="FILE", help="the JSON file to write")
    return execute(parser, argv, lambda a: run(parse_job(a), a.clip, a.count, a.out))


if __name__ == "__main__":
    raise SystemExit(main())
