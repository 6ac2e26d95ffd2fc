"""What a user takes away from a video and its sentences: overlays, masks, mattes, annotations for other tools."""
