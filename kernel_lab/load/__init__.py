"""What a guarantee costs: load slots, process trees, paired ratios. Locust is not imported here."""
