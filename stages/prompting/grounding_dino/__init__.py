"""Prompts from GroundingDINO's boxes."""
