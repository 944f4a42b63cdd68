"""Faults: the disturbances of a live deployment while it serves. One file per family."""
