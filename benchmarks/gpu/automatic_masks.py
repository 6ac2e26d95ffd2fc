"""The sam2 package's mask generator against ours: hiera-large at 1024 px, 32 × 32 points, one drawn frame.

Random weights whose logits are scaled to the range of trained ones; the IoU threshold lets half of the masks pass.
The gate says what share of the stock masks ours gives at IoU ≥ 0.99.
"""

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.gpu.detector import seconds
from benchmarks.gpu.models import settings
from benchmarks.gpu.run import Row, Run, markdown, precisions
from benchmarks.prompt_models import first_frame, random_sam2
from benchmarks.prompts import iou_median, masks_row

CODE = ("benchmarks/prompts.py", "benchmarks/plain_prompts.py", "benchmarks/prompt_models.py", "stages/prompting/grid")


def measure(run: Run) -> Iterator[tuple[str, Row]]:
    config, side, points = (
        ("configs/sam2/sam2_hiera_l.yaml", 1024, 32) if not run.tiny else ("configs/sam2.1/sam2.1_hiera_t.yaml", 128, 4)
    )
    model = random_sam2(config, side).to(run.device)
    image = first_frame(None)

    def row(precision: Any) -> Row:
        # Random masks are not objects: filtering by stability and suppression means nothing here.
        base = {"points_per_side": points, "stability_score_thresh": 0.3, "box_nms_thresh": 1.0, "precision": precision}
        chosen = settings().prompts.grid.model_copy(update=base)
        chosen = chosen.model_copy(update={"pred_iou_thresh": iou_median(model, chosen, image)})
        return masks_row(Namespace(device=run.device, rounds=1 if run.tiny else 2), precision, model, chosen, [image])

    yield from run.each(
        {precision: lambda precision=precision: row(precision) for precision in reversed(precisions(run.device))}
    )


def table(rows: Mapping[str, Row]) -> str:
    head = ("", "stock, s", "referee, s", "times", "masks", "found again")
    lines = [
        (name, *seconds(row), row["gate"]["masks"]["stock"], row["gate"]["share_at_iou_99"])
        for name, row in rows.items()
    ]
    return markdown(head, lines)
