"""Comparing ways to choose tracks on one split: baselines, selectors, thresholds, and the best that the tracks allow."""
