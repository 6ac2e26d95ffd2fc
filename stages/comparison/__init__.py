"""Comparing ways to choose tracks on one split: baselines, selectors, thresholds, and what the tracks allow."""
