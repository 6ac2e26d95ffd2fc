"""The report of a run: one static site to look at, made by `referee report` (docs/report.md)."""
