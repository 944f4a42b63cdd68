"""The files that the gate writes for other programs: JSON, JUnit XML, a summary in Markdown, annotations, a badge.

Each is a pure function of the same report, so no two of them can differ.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET

import msgspec

from kernel_lab.gate.judging import About, Held
from kernel_lab.judge.verdict import Validity, merge

SCHEMA_ID = "urn:kernel-lab:gate:1"
SCHEMA = Path(__file__).with_name("gate.schema.json")
"""The published schema of the JSON document; it is made by `schema`, and a test compares."""
_CONTROL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_COLOUR = {Validity.VALID: "#2d7a3e", Validity.INVALID: "#b3261e", Validity.UNKNOWN: "#8a6100"}
_ICON = {Validity.VALID: "✅", Validity.INVALID: "❌", Validity.UNKNOWN: "❔"}

Judged = Literal["valid", "invalid", "unknown"]


class CellReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one cell for a guarantee."""

    connections: str
    validity: Judged
    said: str
    folder: str
    """Relative to the run; empty where nothing was recorded."""


class GuaranteeReport(msgspec.Struct, frozen=True, kw_only=True):
    """One guarantee: its declaration and its result."""

    name: str
    claim: str
    deployment: str
    app: str
    connections: str | None
    fault: str
    verdict: str
    measure: str | None
    max: float | None
    min: float | None
    upper_bound: float | None
    validity: Judged
    """``valid``: it holds. ``invalid``: it is broken. ``unknown``: it was not judged."""
    said: str
    """The figure, or why there is none."""
    anomaly: str
    counterexample: tuple[str, ...]
    """The smallest counter-example, one line an operation."""
    folder: str
    """The folder of the cell that decided."""
    replay: str
    """A script that shows the counter-example on a live deployment; empty where there is none."""
    cells: tuple[CellReport, ...]


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """The run that was judged."""

    path: str
    commit: str | None
    changed_files: int | None
    kernel: str
    measured: str | None
    """The time when it ended, or began where it did not end, in ISO 8601."""
    quick: bool
    finished: bool
    noisy: str
    """Why its machine was too busy to trust times; empty where it was not."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The document that ``kernel-lab gate --json`` writes."""

    version: Literal[1]
    validity: Judged
    """The worst of the guarantees."""
    exit_code: Literal[0, 1, 2]
    run: RunReport
    guarantees: tuple[GuaranteeReport, ...]


def report(facts: About, held: Sequence[Held], *, exit_code: int) -> Report:
    """Everything that the gate found out."""
    return Report(
        version=1,
        validity=_judged(merge(one.validity for one in held)),
        exit_code=exit_code,  # type: ignore[arg-type] # the table of exit codes has these three for a verdict
        run=RunReport(
            path=facts.run, commit=facts.commit, changed_files=facts.changed_files, kernel=facts.kernel,
            measured=facts.measured, quick=facts.quick, finished=facts.finished, noisy=facts.noisy,
        ),
        guarantees=tuple(_guarantee(one) for one in held),
    )  # fmt: skip


def _guarantee(held: Held) -> GuaranteeReport:
    one = held.guarantee
    return GuaranteeReport(
        name=one.title, claim=one.claim, deployment=held.deployment, app=one.app, connections=one.connections,
        fault=one.fault, verdict="valid" if one.needs_valid else "", measure=one.measure, max=one.max,
        min=one.min, upper_bound=one.upper_bound, validity=_judged(held.validity), said=held.said,
        anomaly=held.anomaly, counterexample=held.story, folder=held.folder, replay=held.replay,
        cells=tuple(
            CellReport(
                connections=cell.cell.connections, validity=_judged(cell.validity), said=cell.said,
                folder=cell.cell.folder,
            )
            for cell in held.cells
        ),
    )  # fmt: skip


def _judged(validity: Validity) -> Judged:
    judged: dict[Validity, Judged] = {Validity.VALID: "valid", Validity.INVALID: "invalid"}
    return judged.get(validity, "unknown")


def as_json(said: Report) -> bytes:
    """One JSON document, as `SCHEMA` describes it."""
    return msgspec.json.format(msgspec.json.encode(said), indent=2) + b"\n"


def schema() -> dict[str, Any]:
    """The JSON schema of the document, made of its types."""
    made = msgspec.json.schema(Report)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **made}


def as_junit(said: Report) -> bytes:
    """JUnit XML: a broken guarantee is a failure, one that was not judged is an error."""
    counts = {
        kind: str(sum(one.validity == kind for one in said.guarantees)) for kind in ("invalid", "unknown")
    }
    total = {"tests": str(len(said.guarantees)), "failures": counts["invalid"], "errors": counts["unknown"]}
    root = ET.Element("testsuites", {"name": "kernel-lab", **total})
    suite = ET.SubElement(root, "testsuite", {"name": "kernel-lab gate", **total, "skipped": "0"})
    properties = ET.SubElement(suite, "properties")
    for name, value in msgspec.to_builtins(said.run).items():
        ET.SubElement(properties, "property", name=name, value=_clean("" if value is None else str(value)))
    for one in said.guarantees:
        case = ET.SubElement(
            suite, "testcase", classname=_clean(f"{one.claim}.{one.deployment}"), name=_clean(one.name)
        )
        if one.validity != "valid":
            tag = "failure" if one.validity == "invalid" else "error"
            ET.SubElement(case, tag, message=_clean(one.said), type=one.validity).text = _clean(_told(one))
        ET.SubElement(case, "system-out").text = _clean(one.said)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def as_summary(said: Report) -> str:
    """Markdown for the summary of a job: a table, and each counter-example below it."""
    commit = f", commit `{said.run.commit[:10]}`" if said.run.commit else ""
    lines = [
        f"### {_ICON[Validity(said.validity)]} kernel-lab gate: {counted(said)}",
        "",
        f"Judged: `{_cell(said.run.path)}`{commit}, {_cell(said.run.kernel)}, measured {said.run.measured}"
        + (", short cells" if said.run.quick else ""),
        "",
        "| | guarantee | what was seen |",
        "| --- | --- | --- |",
        *(
            f"| {_ICON[Validity(one.validity)]} | {_cell(one.name)} | {_cell(one.said)} |"
            for one in said.guarantees
        ),
        "",
    ]
    for one in said.guarantees:
        if one.validity == "invalid":
            told = html.escape(_told(one), quote=False)
            name = html.escape(one.name, quote=False)
            lines += [
                f"<details><summary>{name}: the counter-example</summary>",
                "",
                f"<pre>{told}</pre>",
                "</details>",
            ]
            lines += [""]
    return "\n".join(lines)


def counted(said: Report) -> str:
    """Return the number of guarantees that hold, in one line."""
    number = {
        kind: sum(one.validity == kind for one in said.guarantees) for kind in ("valid", "invalid", "unknown")
    }
    line = f"{number['valid']} of {len(said.guarantees)} guarantees hold"
    line += f", {number['invalid']} broken" if number["invalid"] else ""
    return line + (f", {number['unknown']} not judged" if number["unknown"] else "")


def as_annotations(said: Report, file: Path, text: str) -> list[str]:
    """Workflow commands of GitHub: each guarantee that does not hold, at its table in the file."""
    places = [
        number for number, line in enumerate(text.splitlines(), 1) if line.strip().startswith("[[guarantee]]")
    ]
    lines = []
    for number, one in enumerate(said.guarantees):
        if one.validity == "valid":
            continue
        level = "error" if one.validity == "invalid" else "warning"
        where = f"file={_property(str(file))}"
        if len(places) == len(said.guarantees):
            where += f",line={places[number]}"
        message = _data("\n".join([one.said, *_counter_example(one)]))
        lines.append(f"::{level} {where},title={_property(one.name)}::{message}")
    return lines


def as_badge(said: Report) -> str:
    """A small SVG: how many guarantees hold, and the colour of the worst."""
    left, right = "guarantees", counted(said).replace(" guarantees", "")
    a, b = 10 + 7 * len(left), 10 + 7 * len(right)
    colour = _COLOUR[Validity(said.validity)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{a + b}" height="20" role="img" '
        f'aria-label="{left}: {right}"><title>{left}: {right}</title>'
        f'<rect width="{a}" height="20" fill="#444"/><rect x="{a}" width="{b}" height="20" fill="{colour}"/>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="{a / 2:g}" y="14" textLength="{a - 10}">{left}</text>'
        f'<text x="{a + b / 2:g}" y="14" textLength="{b - 10}">{right}</text></g></svg>\n'
    )


def _told(one: GuaranteeReport) -> str:
    lines = [one.said, *_counter_example(one)]
    lines += [f"everything: kernel-lab check {one.folder}"] if one.folder else []
    lines += [f"on a live deployment: python {one.replay} URL"] if one.replay else []
    return "\n".join(lines)


def _counter_example(one: GuaranteeReport) -> list[str]:
    return [line for line in (one.anomaly, *one.counterexample) if line]


def _clean(text: str) -> str:
    """Text without the characters that XML does not allow."""
    return _CONTROL.sub("�", text)


def _cell(text: str) -> str:
    """Text that stays inside its cell of a Markdown table and is not read as markup."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|").replace("`", "'")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
