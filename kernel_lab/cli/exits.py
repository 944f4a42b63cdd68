"""The exit code of a command, from its verdicts."""

from __future__ import annotations

from kernel_lab.judge.verdict import Validity

EXIT = {Validity.VALID: 0, Validity.INVALID: 1, Validity.UNKNOWN: 2, Validity.SKIPPED: 2}
"""1 means that a guarantee is broken, and nothing else."""
CODES = """\
Exit codes of every command:

0: it holds, or the work is done.

1: a guarantee is broken (run: judged otherwise than expected; diff: something changed; doctor: findings).

2: unknown: something could not be judged, and that never counts as good.

64: bad input: one sentence says what was wrong and what would be right.

130: interrupted."""
"""The table of `docs/gate.md`, for --help."""
