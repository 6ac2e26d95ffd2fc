"""A page about a fusion that is a file of its own: what it is for, its weights, and what each source is worth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.evidence.fusion.objective import FIGURES

Document = Mapping[str, Any]
TITLE = "# Fusion"


def card_of(document: Document, path: Path) -> str:
    """Markdown, from what `stages.evidence.fusion.file.export` returned."""
    report = document["report"]
    counts = f"{report['videos']} videos, {report['sentences']} sentences, {report['tracks']} tracks"
    evidence = ", ".join(document["evidence"]) or "no evidence"
    rule = ", ".join(f"{key} {value:g}" for key, value in document["rule"].items() if key != "kind")
    return "\n".join(
        [
            TITLE,
            "",
            f"`{path.name}` decides by the score of the selector `{document['selector']}` and {evidence}. It refuses other",
            f"selectors, other lists of evidence, and to decide `{document['fitted_on']}`, which it was fitted to ({counts}).",
            "",
            "- **Use**: `rerank: {fusion: fitted, fusion_file: FILE}`, with the evidence, the rule and `same_iou` that it was",
            "  fitted with. Settings and models of the evidence must be the same too; that is not checked.",
            f"- **Rule**: {document['rule']['kind']} ({rule}), of best {FIGURES[document['objective']]} there; "
            f"same_iou {document['same_iou']}.",
            f"- **Command**: `referee fit-fusion --dataset {_dataset(document)} --split {_split(document)} --out FILE`",
            "",
            *_weights(document),
            "",
            *_worth(document),
            "",
        ]
    )


def _dataset(document: Document) -> str:
    return str(document["fitted_on"]).split("/")[0]


def _split(document: Document) -> str:
    return str(document["fitted_on"]).split("/")[1]


def _weights(document: Document) -> list[str]:
    """Columns of no weight are left out: they never change."""
    moves = document["report"]["moves"]
    rows = [
        f"| {column} | {weight:.3f} | {moves[column]:.2f} |" for column, weight in document["weights"].items() if weight
    ]
    head = ["## Weights", "", "| column | weight | moves the log-odds by |", "|---|---:|---:|"]
    return [*head, f"| bias | {document['bias']:.3f} | |", *rows]


def _worth(document: Document) -> list[str]:
    report, figure = document["report"], FIGURES[document["objective"]]
    rows = {"everything": report["with_all"], **{f"without {name}": of for name, of in report["without"].items()}}
    head = [
        f"## What each source is worth on `{document['fitted_on']}`",
        "",
        f"{figure} is of the answers there, flattered by the fit; log loss and AUC of tracks are cross-validated.",
        "",
        f"| | {figure} | AUC of tracks | log loss |",
        "|---|---:|---:|---:|",
    ]
    lines = [
        f"| {name} | {100 * of['quality']:.1f} | {of['auc']:.3f} | {of['log_loss']:.3f} |" for name, of in rows.items()
    ]
    return [*head, *lines]
