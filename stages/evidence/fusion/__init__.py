"""Fusion: how scores and evidence become a decision, as pure functions on arrays.

    S_n = bias + w · score_n + Σ_k w_k · evidence_kn + Σ_x w_x · existence_x      (features.py)

Near-duplicate tracks count once: they share the mean of their S (decide.py). A rule says which objects are probable
enough (rules.py), if need be by the number that the sentence asks for (number.py). Weights come from the config, or from
a logistic regression on tracks of known labels; the rule's thresholds then are those of best quality (fit.py).
"""
