"""MeViS, versions 1 and 2 (Ding et al., ICCV 2023; MeViSv2, 2025).

J and F are averaged over frames, then over expressions (not videos). Version 2 has expressions that refer to
nothing: N-acc is the share of these predicted empty in every frame, T-acc the share of the others predicted
non-empty, and challenges rank by Final, the mean of J&F, N-acc and T-acc.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.metrics.protocol import Figures, Protocol, Row, boundary_kind, mean, mean_of


def figures(rows: Sequence[Row], extras: Mapping[str, Any]) -> Figures:
    """J, F, J&F (all expressions), J&F target (those that refer to something), N-acc, T-acc, Final."""
    target = [row for row in rows if not row["no_target"]]
    absent = [row for row in rows if row["no_target"]]
    result = mean_of(rows, "J", "F", "J&F")
    result["J&F target"] = mean_of(target, "J&F")["J&F"]
    result["N-acc"] = mean(float(row["predicted_empty"]) for row in absent)
    result["T-acc"] = mean(float(not row["predicted_empty"]) for row in target)
    ranked = [result[name] for name in ("J&F", "N-acc", "T-acc")]
    result["Final"] = None if None in ranked else mean(value for value in ranked if value is not None)
    return result


def title(rows: Sequence[Row]) -> str:
    version = "v2" if any(row["no_target"] for row in rows) else "v1"
    return f"MeViS {version}: mean over expressions of the mean over frames; {boundary_kind(rows)}"


MEVIS = Protocol("J&F", title, figures)
