"""An MLLM that looks again: rounds of verdicts on candidates, until it is sure of them or the budget is spent."""
