"""The list behind the table EVIDENCE: every kind of evidence about a track and an expression. One line adds one."""

from stages.core.tables import EvidenceKind
from stages.evidence.kinds import agent, average, detector, exists, judge, seg, selector

LISTED: tuple[EvidenceKind, ...] = (
    detector.KIND,
    judge.KIND,
    agent.KIND,
    exists.KIND,
    average.KIND,
    seg.KIND,
    selector.KIND,
)
