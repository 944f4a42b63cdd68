"""The claims that the lab tests: one file for each claim."""
