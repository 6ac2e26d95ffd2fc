"""Tracking: SAM2 engines, the greedy selection of what to track, labels against ground truth."""
