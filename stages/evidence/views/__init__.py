"""What a model is shown: which frames, and what is drawn on them."""
