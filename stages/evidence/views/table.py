"""The views by name. A view is one file and one line here; `evidence.<name>.views` names one or several."""

from collections.abc import Callable, Mapping

from stages.evidence.views.card import Card
from stages.evidence.views.facts import Facts
from stages.evidence.views.highlight import Highlight
from stages.evidence.views.numbered import Numbered
from stages.evidence.views.plain import Plain
from stages.evidence.views.trail import Trail
from stages.evidence.views.view import View

# Name → what makes the view of (longest side of whole frames, side of a candidate's own picture), in pixels.
VIEWS: Mapping[str, Callable[[int, int], View]] = {
    "plain": lambda frame_side, _: Plain(frame_side),
    "numbered": lambda frame_side, _: Numbered(frame_side),
    "highlight": lambda frame_side, _: Highlight(frame_side),
    "trail": lambda frame_side, _: Trail(frame_side),
    "card": lambda _, card_side: Card(card_side),
    "facts": lambda *_: Facts(),
}
