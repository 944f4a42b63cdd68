"""A diagnosis in SARIF 2.1.0, the format that code scanning services read."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from kernel_lab.doctor.catalogue import RULES, Rule, Severity
from kernel_lab.doctor.diagnosis import Diagnosis
from kernel_lab.doctor.findings import Finding

_LEVELS: Final[dict[Severity, str]] = {"error": "error", "warning": "warning", "info": "note"}


def as_sarif(diagnosis: Diagnosis) -> str:
    """The findings as one SARIF log; ignored ones carry their reason as a suppression."""
    order = list(RULES)
    run = {
        "tool": {
            "driver": {
                "name": "kernel-lab doctor",
                "version": _version(),
                "rules": [_rule(rule) for rule in RULES.values()],
            }
        },
        "results": [_result(each, order.index(each.id)) for each in diagnosis.findings],
        "columnKind": "unicodeCodePoints",
    }
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False)


def _version() -> str:
    try:
        return version("kernel-lab")
    except PackageNotFoundError:
        return "0"


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": f"{rule.title}."},
        "fullDescription": {"text": rule.why},
        "help": {"text": f"{rule.fix} Evidence: {', '.join(rule.evidence)}"},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(each: Finding, index: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": each.id,
        "ruleIndex": index,
        "level": _LEVELS[each.severity],
        "message": {"text": f"{each.message} {each.fix}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(PurePath(each.place.file).as_posix())},
                    "region": {"startLine": max(1, each.place.line)},
                }
            }
        ],
    }
    if each.ignored is not None:
        result["suppressions"] = [{"kind": "inSource", "justification": each.ignored}]
    return result
