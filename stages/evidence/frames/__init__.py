"""Which frames of a video a model is shown."""
