"""An estimate in words: three tables, and what they assume."""

from collections.abc import Collection, Sequence

from stages.core.work import CARDS
from stages.estimate.split import Estimate
from stages.own.models import AT_WORK_GB

Row = Sequence[str]


def lines(estimate: Estimate) -> list[str]:
    about = f"{estimate.videos:,} videos, {estimate.frames:,} frames, {estimate.expressions:,} expressions"
    told = [f"{estimate.name}: {about}; preset {estimate.preset}"]
    if estimate.unlisted:
        told.append(f"{estimate.unlisted:,} videos are not counted: their frames are not extracted yet")
    return [*told, "", *_models(estimate), "", *_questions(estimate), "", *_hours(estimate)]


def _models(estimate: Estimate) -> list[str]:
    rows = [
        (
            role,
            model.hub or str(model.path),
            model.license or "not known",
            "" if model.size_gb is None else f"{model.size_gb:.2f}",
            "here" if here else "to fetch",
        )
        for role, (model, here) in estimate.models.items()
    ]
    to_fetch = sum(model.size_gb or 0.0 for model, here in estimate.models.values() if not here)
    told = columns(("model", "from", "licence", "GB", ""), rows, numbers={3})
    if to_fetch:
        told.append(f"{to_fetch:.1f} GB to fetch")
    return told


def _questions(estimate: Estimate) -> list[str]:
    if not estimate.bills:
        return ["no MLLM is asked about candidates"]
    head = ("evidence", "questions", "at most more", "pictures", "tokens", "context encoded once", "cost")
    rows = [
        (
            name,
            *(f"{n:,}" for n in (bill.questions, bill.perhaps, bill.images, bill.tokens, bill.encoded)),
            "no prices" if bill.cost is None else f"{bill.cost:,.2f}",
        )
        for name, bill in estimate.bills.items()
    ]
    told = columns(head, rows, numbers=range(1, len(head)))
    told.append(
        f"with {estimate.candidates} candidates per expression; pictures and tokens of all that may be asked, estimated"
    )
    told += [
        f"not in it: {source} asks for the phrases of {estimate.expressions:,} expressions"
        for source in estimate.phrased
    ]
    return told


def _hours(estimate: Estimate) -> list[str]:
    known = {part: hours for part, hours in estimate.hours.items() if not isinstance(hours, str)}
    uncounted = [f"not counted: {part}: {why}" for part, why in estimate.hours.items() if isinstance(why, str)]
    if not known:
        return uncounted
    rows = [(part, *(f"{hours[card]:.2f}" for card in CARDS)) for part, hours in known.items()]
    rows.append(("together", *(f"{sum(hours[card] for hours in known.values()):.2f}" for card in CARDS)))
    small = [name for name, card in CARDS.items() if card.memory < _at_work(estimate)]
    return [
        *columns(("hours of one GPU", *CARDS), rows, numbers=range(1, len(CARDS) + 1)),
        "computed, not measured; with as many tracks as tracks.max_tracks allows, of which most videos have a part",
        f"one model is loaded at a time: {_at_work(estimate):.0f} GB of a GPU are enough",
        *[f"too small for it: {name}" for name in small],
        *uncounted,
    ]


def _at_work(estimate: Estimate) -> float:
    return max((model.size_gb or 0.0 for model, _ in estimate.models.values()), default=0.0) + AT_WORK_GB


def columns(head: Row, rows: Sequence[Row], numbers: Collection[int]) -> list[str]:
    """Rows below a head, each column as wide as its widest word; numbers end at the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return [
        "  ".join(
            word.rjust(width) if i in numbers else word.ljust(width)
            for i, (word, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
