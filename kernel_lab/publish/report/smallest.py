"""The smallest faults that "holds" could hide: sizes that were measured with seeded kernels."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby

import msgspec

FILE = "smallest_faults.csv"
"""Written by ``make smallest-faults``, beside this module."""
NOT_MEASURED = "not measured"


class SeenFault(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the file: the weakest strength of a fault that at least 95 % of the runs found."""

    claim: str
    wrong: str
    """The fault of the kernel, in words that end where the strength is named."""
    unit: str
    mode: str
    """``quick`` or ``full``."""
    smallest: float | None
    """None if not even the strongest that was tried was seen."""
    commit: str
    """The version of the lab that was measured."""
    measured: str
    """The day."""

    @property
    def size(self) -> str:
        """``2 % of calls``."""
        return "no size that was tried" if self.smallest is None else f"{self.smallest:g} {self.unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The sizes of one claim, as the page tells them."""

    claim: str
    sizes: tuple[str, ...]
    """For each unit the largest size: every fault of the table would have been seen at that size."""
    faults: tuple[tuple[str, str, str], ...]
    """The faults of kernels, with the sizes that are seen at quick and at full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallestFaults:
    """The table of the page."""

    mode: str
    """The mode of the run that the page shows: ``quick`` or ``full``."""
    claims: tuple[Seen, ...]
    of: str
    """The measurement that the sizes come from."""

    def beside(self, claim: str) -> tuple[str, ...]:
        """Return the text that stands beside the claim's verdicts."""
        return next((seen.sizes for seen in self.claims if seen.claim == claim), (NOT_MEASURED,))


def read_smallest() -> list[SeenFault]:
    """The file's rows."""
    text = resources.files(__package__).joinpath(FILE).read_text("utf-8")
    rows = [{**row, "smallest": row["smallest"] or None} for row in csv.DictReader(text.splitlines())]
    return msgspec.convert(rows, list[SeenFault], strict=False)


def smallest_faults(rows: Sequence[SeenFault], claims: Sequence[str], *, quick: bool) -> SmallestFaults:
    """The sizes of the claims of a run, for the mode that the run was in."""
    mode = "quick" if quick else "full"
    mine = [row for row in rows if row.claim in claims]
    seen = [_seen(claim, list(some), mode) for claim, some in groupby(mine, key=lambda row: row.claim)]
    of = dict.fromkeys(f"commit {row.commit} on {row.measured}" for row in mine)
    return SmallestFaults(mode=mode, claims=tuple(seen), of=" and ".join(of))


def _seen(claim: str, rows: Sequence[SeenFault], mode: str) -> Seen:
    largest: dict[str, SeenFault] = {}
    for row in rows:
        if row.mode == mode:
            first = largest.setdefault(row.unit, row)
            if row.smallest is None or (first.smallest is not None and row.smallest > first.smallest):
                largest[row.unit] = row
    faults: dict[str, dict[str, str]] = {}
    for row in rows:
        faults.setdefault(row.wrong, {})[row.mode] = row.size
    return Seen(
        claim=claim,
        sizes=tuple(row.size for row in largest.values()),
        faults=tuple(
            (wrong, sizes.get("quick", NOT_MEASURED), sizes.get("full", NOT_MEASURED))
            for wrong, sizes in faults.items()
        ),
    )
