"""Pixels: video files, masks, drawing."""
