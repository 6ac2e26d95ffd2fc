"""Referee: an offline pipeline for referring video object segmentation.

One module a DAG node at this level; `python -m stages.<name> --help` explains each. Data flows one
way: stage modules → {datasets, prompting, tracking, selectors, mllm, metrics, exchange} → core.
"""

__version__ = "0.1.0"
