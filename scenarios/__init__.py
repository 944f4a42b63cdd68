"""What is asked: one file, one claim."""
