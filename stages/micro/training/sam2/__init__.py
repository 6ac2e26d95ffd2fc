"""Trains the micro SAM2 from scratch."""
