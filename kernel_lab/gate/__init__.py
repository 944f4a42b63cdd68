"""The gate: the declared guarantees, the cells that they need, the judgement, and its output files."""
