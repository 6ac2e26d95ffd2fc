"""Brings model weights into place, by hub, seed or path, and verifies them (`stages.fetch_weights`)."""
