"""Judging: operations, histories, and the checkers that decide from a history which guarantee is broken.

Everything here is pure. It reads what a run recorded and needs no server, no clock and no network.
"""
