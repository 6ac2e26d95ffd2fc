"""What `referee segment` is made of: the request, the models it needs, the bar, and the answers (stages/tools/segment.py)."""
