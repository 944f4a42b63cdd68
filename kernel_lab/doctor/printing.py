"""Print a diagnosis: for people, as JSON, and one finding explained."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from kernel_lab.doctor.catalogue import RULES, Rule
from kernel_lab.doctor.diagnosis import Diagnosis
from kernel_lab.doctor.facts import NONE, Count, Factor
from kernel_lab.doctor.findings import Finding, processes


def as_json(diagnosis: Diagnosis) -> str:
    """The diagnosis as one JSON document; its keys are described in docs/doctor.md."""
    total = diagnosis.sum
    document: dict[str, Any] = {
        "processes": {
            "min": total.processes.min,
            "max": total.processes.max,
            "during_rollout": total.during_rollout.max,
            "from": [
                {"file": each.place.file, "line": each.place.line, "factor": _factor(each), "why": each.why}
                for each in total.factors
            ],
        },
        "findings": [_finding(each) for each in diagnosis.findings if each.ignored is None],
        "ignored": [
            {**_finding(each), "reason": each.ignored}
            for each in diagnosis.findings
            if each.ignored is not None
        ],
        "files": list(diagnosis.files),
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _factor(factor: Factor) -> int | str | None:
    count = factor.count
    if count is None:
        return None
    return count.min if count.known else str(count)


def _finding(each: Finding) -> dict[str, Any]:
    return {
        "id": each.id,
        "severity": each.severity,
        "file": each.place.file,
        "line": each.place.line,
        "message": each.message,
        "fix": each.fix,
        "evidence": list(each.evidence),
    }


def as_text(diagnosis: Diagnosis) -> str:
    """The diagnosis for people."""
    return "\n".join(_lines(diagnosis))


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    total = diagnosis.sum
    yield _headline(total.processes, total.during_rollout)
    for factor in total.factors:
        shown_count = "?" if factor.count is None else str(factor.count)
        yield f"  {shown_count:>12}  {factor.place}  {factor.why}"
    if len(diagnosis.ways) > 1:
        yield f"The files describe {len(diagnosis.ways)} alternatives, and the range covers all of them:"
        for way in diagnosis.ways:
            yield f"  {way.processes!s:>12}  {way.name}"
    shown = [each for each in diagnosis.findings if each.ignored is None]
    for each in shown:
        yield ""
        yield f"{each.severity}: {each.id}  {each.place}"
        yield from _wrapped(each.message)
        yield from _wrapped(f"Fix: {each.fix}")
        yield from (f"  Evidence: {link}" for link in each.evidence)
    yield ""
    ignored = len(diagnosis.findings) - len(shown)
    counts = ", ".join(
        f"{number} {severity}{'s' if number != 1 and severity != 'info' else ''}"
        for severity in ("error", "warning", "info")
        if (number := sum(each.severity == severity for each in shown))
    )
    files = len(diagnosis.files)
    also = f", {ignored} ignored with a reason" if ignored else ""
    yield f"{files} file{'' if files == 1 else 's'} read: {counts or 'nothing to say'}{also}."


def _headline(count: Count, rollout: Count) -> str:
    if count == NONE:
        return "These files run no process of the service."
    more = (
        f", and up to {rollout.max} during a rollout"
        if rollout.max is not None and count.max is not None and rollout.max > count.max
        else ""
    )
    open_ended = " (no file bounds the number)" if count.max is None else ""
    verb = "runs" if count.min == count.max == 1 else "run"
    return f"{processes(count).capitalize()} {verb}{open_ended}{more}:"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, width=100, initial_indent="  ", subsequent_indent="  ", break_long_words=False)


def explain(rule: Rule) -> str:
    """Return the meaning of a finding, its reason, its remedy, and its evidence."""
    return "\n".join(
        [
            f"{rule.id} ({rule.severity}): {rule.title}.",
            *_wrapped(rule.why),
            *_wrapped(f"Fix: {rule.fix}"),
            *(f"  Evidence: {link}" for link in rule.evidence),
        ]
    )


def all_rules() -> str:
    """Every finding, one a line."""
    width = max(map(len, RULES))
    return "\n".join(f"{rule.id:<{width}}  {rule.severity:<7}  {rule.title}" for rule in RULES.values())
