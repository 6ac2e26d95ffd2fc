"""Evidence about tracks: its kinds, what models are shown and asked, and how it is weighed into a decision."""
