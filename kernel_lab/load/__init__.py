"""Measure the cost of a guarantee: load slots, process trees, paired ratios. Locust is not imported here."""
