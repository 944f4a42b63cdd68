"""From paths to a diagnosis: the sum of processes and the findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel_lab.bad_input import BadInput
from kernel_lab.doctor import adding_up, ignores, reading, rules
from kernel_lab.doctor.adding_up import Sum, Way
from kernel_lab.doctor.catalogue import RANK, Severity
from kernel_lab.doctor.facts import Place
from kernel_lab.doctor.findings import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The findings of the doctor for a set of files."""

    files: tuple[str, ...]
    sum: Sum
    ways: tuple[Way, ...]
    findings: tuple[Finding, ...]

    def worst(self) -> Severity | None:
        """The highest severity of the findings that no comment ignores."""
        counted = [each.severity for each in self.findings if each.ignored is None]
        return max(counted, key=RANK.__getitem__, default=None)

    def fails(self, at: Severity | None) -> bool:
        """Whether a finding has at least this severity; None never fails."""
        worst = self.worst()
        return at is not None and worst is not None and RANK[worst] >= RANK[at]


def diagnose(paths: Sequence[Path]) -> Diagnosis:
    """Read the files and folders and say what follows.

    Raises:
        BadInput: A path is not there, or nothing that the doctor reads could be read.
    """
    read, given = reading.read(paths)
    first = Place(next(iter(given.kinds), str(paths[0])))
    found = adding_up.ways(read)
    usable = (
        read.services
        or read.stores
        or read.balancers
        or read.sources
        or read.facts
        or read.consumed
        or read.environment
    )
    if not usable:
        raise BadInput(_nothing(paths, read.troubles and read.troubles[0], given.unknown, bool(given.kinds)))
    for path in given.unknown:
        read.trouble(Place(path), "The doctor does not know this kind of file, so it was not read.")
    total = adding_up.add_up(found, read, first)
    findings = ignores.apply(rules.judge(found, read, given.files), given.files)
    return Diagnosis(files=tuple(given.kinds), sum=total, ways=tuple(found), findings=tuple(findings))


def _nothing(paths: Sequence[Path], trouble: object, unknown: Sequence[str], kinds: bool) -> str:
    if trouble:
        place, message = getattr(trouble, "place", ""), getattr(trouble, "message", "")
        return f"doctor: {place}: {message}"
    if unknown:
        return f"doctor: {unknown[0]}: this kind of file is not known (docs/doctor.md lists what is read)"
    what = "says nothing about how a service runs" if kinds else "holds no file that the doctor reads"
    return f"doctor: {paths[0]}: it {what} (docs/doctor.md lists what it reads)"
