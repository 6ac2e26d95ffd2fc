"""Asking an MLLM about the tracks of a video: what is shown, what is asked, and how replies become log-odds."""
