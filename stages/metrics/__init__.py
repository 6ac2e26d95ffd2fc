"""Metrics: pure functions over masks (`jaccard`, `boundary_f`), and every data set's own way of scoring (`protocols`)."""

from stages.metrics.boundary import boundary_f
from stages.metrics.region import jaccard

__all__ = ["boundary_f", "jaccard"]
