"""What a user takes away from a video and its sentences: overlays, masks, mattes, annotations for other tools.

`segmented.Segmented` says what was found, `writing.write` writes it in the formats of `format.FORMATS`.
"""
