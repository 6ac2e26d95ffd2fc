"""What the figures in the documents were measured with."""
