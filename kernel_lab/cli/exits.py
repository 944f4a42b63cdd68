"""How a verdict leaves a command: its exit code and its mark."""

from __future__ import annotations

from kernel_lab.judge.verdict import Validity

EXIT = {Validity.VALID: 0, Validity.INVALID: 1, Validity.UNKNOWN: 2, Validity.SKIPPED: 2}
"""1 means that a guarantee is broken, and nothing else."""
MARK = {Validity.VALID: "✓", Validity.INVALID: "✗", Validity.UNKNOWN: "?", Validity.SKIPPED: "–"}
