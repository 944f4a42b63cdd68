"""Pure checkers, one per claim: ``check(history, cell) -> Verdict``; no clock, no I/O, no log."""
