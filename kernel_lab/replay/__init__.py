"""Replays: the smallest counter-example of a cell, as a script of plain httpx that anybody can run and read."""
