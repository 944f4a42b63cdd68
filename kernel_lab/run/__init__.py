"""The parts of a run: its plan, the stacks of its cells, the recording of a cell, the results and the folder."""
