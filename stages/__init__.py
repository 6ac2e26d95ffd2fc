"""Referee: an offline pipeline for referring video object segmentation.

One module per DAG node at this level; `referee --help` lists them and the tools. Data flows one way: stage modules and
tools → packages → core.
"""

__version__ = "0.1.0"
