"""Runs beside each other: what changed between two, and what held over many."""
