"""Prompting: where the masks to be tracked come from."""
