"""The doctor says which guarantees will weaken, before anything runs."""
