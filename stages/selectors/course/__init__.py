"""Courses of tracks against words: a selector of our own that reads where objects go, and one another's way."""

from collections.abc import Sequence
from typing import Any

from stages.core.tables import SelectorKind
from stages.selectors.course.settings import CourseModel, CourseSettings


def _build(token_dim: int, text_dim: int, network: CourseModel, tda: Any, inputs: Sequence[str]) -> Any:
    from stages.selectors.course.model import Course

    return Course(token_dim, text_dim, network)


KIND = SelectorKind(
    name="course",
    network=CourseModel,
    settings=CourseSettings,
    build=_build,
    needs_detections=lambda network, inputs: network.detector,
)
