"""What a rule's parameters are searched by: mean J&F, or Final as evaluation reports it."""

import numpy as np
import pytest

from stages.evidence.fusion.objective import quality_of
from stages.metrics.mevis import figures


def rows_of(n: int, seed: int, share: float) -> list[dict]:
    rng = np.random.default_rng(seed)
    rows = []
    for no_target, empty in zip(rng.random(n) < share, rng.random(n) < 0.4, strict=True):
        jf = float(empty) if no_target or empty else float(rng.random())
        jf = 0.0 if empty and not no_target else jf
        rows.append({"J": jf, "F": jf, "J&F": jf, "no_target": bool(no_target), "predicted_empty": bool(empty)})
    return rows


@pytest.mark.parametrize(("objective", "figure"), [("j_and_f", "J&F"), ("final", "Final")])
def test_the_mean_over_sentences_is_the_figure(objective, figure):
    rows = rows_of(200, 0, 0.3)
    quality = quality_of(objective, lambda i, _: rows[i], [not row["no_target"] for row in rows])
    mean = np.mean([quality(i, np.zeros(0, bool)) for i in range(len(rows))])
    assert mean == pytest.approx(figures(rows, {})[figure], abs=1e-12)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_no_sentences_is_left_out(share):
    rows = rows_of(50, 1, share)
    quality = quality_of("final", lambda i, _: rows[i], [not row["no_target"] for row in rows])
    found, wanted = np.mean([quality(i, np.zeros(0, bool)) for i in range(50)]), figures(rows, {})
    assert wanted["Final"] is None
    accuracy = wanted["T-acc"] if share == 0 else wanted["N-acc"]
    assert found == pytest.approx((wanted["J&F"] + accuracy) / 2, abs=1e-12)
