"""Faults: what is done to a live deployment while it serves. One file per family."""
