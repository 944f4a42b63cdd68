"""The gate: declared guarantees, the cells that they need, the judgement, and the forms in which it leaves."""
