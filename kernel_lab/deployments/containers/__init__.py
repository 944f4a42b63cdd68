"""A deployment in containers that somebody else started: found by labels, looked at and never touched."""
