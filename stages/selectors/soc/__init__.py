"""Semantic-assisted object clustering over cached tracks, after SOC (arXiv 2305.17011), a step a file."""
