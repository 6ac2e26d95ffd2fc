"""The `micro` preset's models: tiny random configurations of the large preset's own classes.

Built offline from a seed, so that every code path of the pipeline runs on a CPU in seconds. They
have learned nothing, but are as strict about shapes and about bad input as the real ones.
"""
