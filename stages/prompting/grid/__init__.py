"""Prompts from SAM2's automatic masks on a grid of points."""
