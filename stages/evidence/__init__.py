"""MLLM-guided reranking: which frames are shown, what is drawn on them, what is asked, who answers."""
