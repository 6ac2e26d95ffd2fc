"""The `micro` preset's models: tiny random configurations of the large preset's own classes.

Built offline from a seed, so that every code path of the pipeline runs on a CPU in seconds. They
know nothing; they are as slow, as strict about shapes and as loud about bad input as the real ones.
"""
