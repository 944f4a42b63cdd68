"""A run: its cells, the stacks they share, the recording of each cell, the results and the folder."""
