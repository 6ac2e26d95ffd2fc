"""Prompts: this project against the plain published way, outputs compared in the same run.

    python -m benchmarks.prompts [--rounds 3] [--clip FILE] [--weights FILE] [--device cuda] [--full]

Arms in turn (A B A B …), processor time on the CPU (which other work on the machine disturbs less than wall-clock
time), wall-clock time on an accelerator; minimum and median.
  automatic masks   A: the sam2 package's generator.  B: stages.prompting.grid.automatic_masks.
                    SAM 2.1 hiera-tiny of the published shape on a smaller input, random weights whose mask logits
                    are scaled to trained ones' range; the IoU threshold lets half of the masks pass, as labelled.
                    --full: 1024 px and hiera-large, and also all of the masks passing.
                    With --weights: also a trained checkpoint of stages/micro/sam2_micro.yaml on the embedded data set.
  GroundingDINO     A: transformers' model, float32, one caption in one frame at a time, nothing shared.
                    B: stages.prompting.grounding_dino.detector, float32 and, on an accelerator, bfloat16.
                    Swin-T of the published shape, random weights; --full: 800 px and BERT-base, else smaller frames and
                    two layers of BERT, which one caption at a time reads again and again.
                    Its rows also say what share of B's time each part of the model takes, measured in a run of its own.
Gates: as many masks, ≥ 98 % of them at IoU ≥ .99; ≥ 99 % of the boxes above .2 found again at IoU ≥ .9.
Writes benchmarks/results/prompts.json (prompts-cuda.json on an accelerator).
"""

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sam2.modeling.sam2_base import SAM2Base

from benchmarks.machine import describe
from benchmarks.plain_prompts import StockMasks, one_by_one
from benchmarks.prompt_models import first_frame, random_sam2, swin_t
from stages.core.config.file import Model
from stages.core.config.loading import load_config, settings_of
from stages.core.media import masks
from stages.core.state.weights import Weights
from stages.prompting.grid.automatic_masks import AutomaticMasks
from stages.prompting.grid.settings import GridPrompts
from stages.prompting.grounding_dino.detector import GroundingDino, load_detector, to_pixels
from stages.tracking.sam2_model import build_sam2

POINTS, PAIRS = 64, 8  # computed together: run.batches of config.yaml
CAPTIONS = [
    "the dog",
    "the dog that runs to the left",
    "a person walking away behind the parked cars",
    "the white ball",
    "two hands that move the cup in the middle to the right",
    "the largest animal",
    "who throws the balls up in the air",
    "the car that turns right at the crossing after the truck has passed",
]
Image = NDArray[np.uint8]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="times every arm runs (default: 3)")
    parser.add_argument("--clip", type=Path, help="video whose first frame is used (default: a drawn one)")
    parser.add_argument("--weights", type=Path, help="a trained checkpoint of stages/micro/sam2_micro.yaml")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--full", action="store_true", help="published sizes; for an accelerator")
    arguments = parser.parse_args(argv)
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    image = first_frame(arguments.clip)
    words = [Path(word).name if "/" in word else word for word in (sys.argv[1:] if argv is None else argv)]
    document: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.prompts", *words]),
        "machine": describe("torch", "transformers", "sam2", "numpy", "numba")
        | {"device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu, 1 thread"},
        "results": [],
    }
    name = "prompts.json" if arguments.device == "cpu" else "prompts-cuda.json"
    target = Path(__file__).parent / "results" / name
    for row in chain(automatic(arguments, image), detection(arguments, image)):
        document["results"].append(row)
        target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


# ---------------------------------------------------------------- automatic masks


def automatic(arguments: argparse.Namespace, image: Image) -> Iterator[dict[str, Any]]:
    published = settings_of(load_config("config.yaml"), "mevis").prompts.grid
    config = "configs/sam2.1/sam2.1_hiera_l.yaml" if arguments.full else "configs/sam2.1/sam2.1_hiera_t.yaml"
    side, points = (1024, 32) if arguments.full else (256, 12)
    model = random_sam2(config, side).to(arguments.device)
    precisions = ["float32"] if arguments.device == "cpu" else ["float32", "bfloat16"]
    for precision in precisions:
        # Random masks are not objects: filtering by stability and suppression means nothing here, so both are nearly
        # off, which leaves our way more masks to encode than trained weights would.
        base = {"points_per_side": points, "stability_score_thresh": 0.3, "box_nms_thresh": 1.0}
        settings = published.model_copy(update=base | {"precision": precision})
        middle = iou_median(model, settings, image)
        for passing, threshold in (("half", middle), ("all", 0.0)) if arguments.full else (("half", middle),):
            arms = settings.model_copy(update={"pred_iou_thresh": threshold})
            label = f"{Path(config).stem} {side} px, {points}² points, {passing} pass the IoU, {precision}"
            yield masks_row(arguments, label, model, arms, [image])
    if arguments.weights:
        yield trained_row(arguments, published)


def trained_row(arguments: argparse.Namespace, published: GridPrompts) -> dict[str, Any]:
    """A trained micro model on drawn frames of the embedded data set, at thresholds it can reach."""
    from safetensors.torch import load_file

    from stages.micro.training.sam2.prompted import _images

    model = build_sam2("stages/micro/sam2_micro.yaml", SAM2Base)
    model.load_state_dict(load_file(arguments.weights))
    model = model.eval().requires_grad_(False).to(arguments.device)
    over = {"precision": "float32", "pred_iou_thresh": 0.5, "stability_score_thresh": 0.5, "points_per_side": 16}
    images = [image for _, (image, _) in zip(range(2), _images(2))]
    return masks_row(
        arguments, "trained sam2_micro 128 px, 16² points, 2 frames", model, published.model_copy(update=over), images
    )


def masks_row(
    arguments: argparse.Namespace, label: str, model: SAM2Base, settings: GridPrompts, images: list[Image]
) -> dict[str, Any]:
    stock, ours = StockMasks(copy.deepcopy(model), settings, POINTS), AutomaticMasks(model, settings, POINTS)
    arms = {
        "stock": lambda: [stock.generate(image) for image in images],
        "referee": lambda: [ours.generate(image) for image in images],
    }
    outputs, times = run(arms, arguments.rounds, arguments.device)
    counts = {name: sum(map(len, rows)) for name, rows in outputs.items()}
    matched = sum(
        int((masks.iou_matrix([rle for rle, _, _ in row], [mask.rle for mask in our_row]).max(1) >= 0.99).sum())
        for row, our_row in zip(outputs["stock"], outputs["referee"])
        if row and our_row
    )
    share = matched / max(counts["stock"], 1)
    gate = {
        "masks": counts,
        "share_at_iou_99": round(share, 4),
        "passed": share >= 0.98 and counts["referee"] * 0.98 <= counts["stock"],
    }
    return report("automatic masks", label, list(images[0].shape[:2]), times, gate)


def iou_median(model: SAM2Base, settings: GridPrompts, image: Image) -> float:
    over = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0, "points_per_side": 8}
    return float(
        np.median(
            [m.predicted_iou for m in AutomaticMasks(model, settings.model_copy(update=over), POINTS).generate(image)]
        )
    )


# ---------------------------------------------------------------- GroundingDINO


def detection(arguments: argparse.Namespace, image: Image) -> Iterator[dict[str, Any]]:
    from stages.prompting.grounding_dino.checkpoint import find_checkpoint, read_config
    from stages.prompting.grounding_dino.transformers_backend import load_model

    shortest = 800 if arguments.full else 256
    published = settings_of(load_config("config.yaml"), "mevis").prompts.gdino
    with tempfile.TemporaryDirectory() as folder:
        place = swin_t(Path(folder), shortest, 12 if arguments.full else 2)
        plain = load_model(find_checkpoint(place), read_config(place)).eval().to(arguments.device)
        n_frames = 4 if arguments.full else 1
        frames = [np.roll(image, 9 * i, 1) for i in range(n_frames)]
        for n in (1, len(CAPTIONS)) if arguments.full else (1, 4):
            for precision in ("float32",) if arguments.device == "cpu" else ("float32", "bfloat16"):
                over = {"precision": precision, "max_boxes": 900}
                weights = Weights(
                    place, "random", Model(hub=None, revision=None, files=[], seed=0, path=None, license=None)
                )
                detector = load_detector(weights, published.model_copy(update=over), arguments.device, PAIRS)
                assert isinstance(detector, GroundingDino)
                label = f"Swin-T, {shortest} px, {n} captions, {n_frames} frames, {precision}"
                yield detection_row(arguments, label, plain, detector, frames, CAPTIONS[:n])


def detection_row(
    arguments: argparse.Namespace,
    label: str,
    plain: Any,
    detector: GroundingDino,
    frames: list[Image],
    captions: list[str],
) -> dict[str, Any]:
    def ours() -> Any:
        network: Any = detector.network
        network.model.model.text_backbone._known.clear()  # a new video
        return detector.detect(frames, captions)

    arms = {"one by one": lambda: one_by_one(plain, detector, frames, captions), "referee": ours}
    outputs, times = run(arms, arguments.rounds, arguments.device)
    boxes = again = 0
    for frame, row, our_row in zip(frames, outputs["one by one"], outputs["referee"]):
        for (scores_QT, boxes_Q4), detections in zip(row, our_row):
            kept = scores_QT.amax(1) > detector.settings.box_threshold
            expected_N4 = to_pixels(boxes_Q4[kept].numpy(), frame.shape[:2])
            boxes, again = boxes + len(expected_N4), again + recalled(expected_N4, detections.boxes_N4)
    recall = again / max(boxes, 1)
    gate = {"boxes": boxes, "recall_at_iou_90": round(recall, 4), "passed": recall >= 0.99 and boxes > 0}
    row = report("GroundingDINO", label, list(frames[0].shape[:2]), times, gate)
    row["shares"] = shares(detector, ours, arguments.device)
    print(f"{'':16}{'of which':72}{row['shares']}", flush=True)
    return row


def shares(detector: GroundingDino, ours: Callable[[], Any], device: str) -> dict[str, float]:
    """What share of the time each part of the model takes; the rest is reading frames and boxes."""
    network: Any = detector.network
    model = network.model.model
    parts = {
        "image backbone": model.backbone.backbone,
        "text backbone": model.text_backbone.backbone,
        "encoder": model.encoder,
        "decoder": model.decoder,
    }
    seconds, hooks = dict.fromkeys(parts, 0.0), []
    for name, module in parts.items():

        def enter(*_: object, name: str = name) -> None:
            seconds[name] -= now(device)

        def leave(*_: object, name: str = name) -> None:
            seconds[name] += now(device)

        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    start = now(device)
    ours()
    total = now(device) - start
    for hook in hooks:
        hook.remove()
    return {name: round(value / total, 3) for name, value in seconds.items()}


def recalled(expected_N4: NDArray[np.float32], detected_M4: NDArray[np.float32]) -> int:
    """How many expected boxes are matched one to one by a detected box of IoU ≥ .9."""
    from scipy.optimize import linear_sum_assignment
    from torchvision.ops import box_iou

    if not len(expected_N4) or not len(detected_M4):
        return 0
    iou_NM = box_iou(torch.from_numpy(expected_N4), torch.from_numpy(detected_M4)).numpy()
    rows, columns = linear_sum_assignment(iou_NM >= 0.9, maximize=True)
    return int((iou_NM[rows, columns] >= 0.9).sum())


# ---------------------------------------------------------------- measuring


def run(arms: dict[str, Callable[[], Any]], rounds: int, device: str) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Each arm once to warm up and compare, then all in turn; seconds."""
    outputs = {name: arm() for name, arm in arms.items()}
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, arm in arms.items():
            start = now(device)
            arm()
            times[name].append(now(device) - start)
    return outputs, times


def now(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def report(
    kind: str, label: str, size: list[int], times: dict[str, list[float]], gate: dict[str, Any]
) -> dict[str, Any]:
    plain, ours = times.values()
    figures = {name: {"min": round(min(t), 3), "median": round(statistics.median(t), 3)} for name, t in times.items()}
    ratio = {
        "min": round(min(plain) / min(ours), 2),
        "median": round(statistics.median(plain) / statistics.median(ours), 2),
    }
    print(f"{kind:16}{label:72}{figures}  × {ratio['min']} (min) {ratio['median']} (median)  {gate}", flush=True)
    rounds = len(plain)
    return {
        "kind": kind,
        "case": label,
        "image": size,
        "rounds": rounds,
        "seconds": figures,
        "times_faster": ratio,
        "gate": gate,
    }


if __name__ == "__main__":
    raise SystemExit(main())
