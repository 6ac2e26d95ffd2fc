"""Metrics: pure functions over masks (`jaccard`, `boundary_f`) and over rows of scores (`report`)."""

from stages.metrics.boundary import boundary_f
from stages.metrics.region import jaccard

__all__ = ["boundary_f", "jaccard"]
