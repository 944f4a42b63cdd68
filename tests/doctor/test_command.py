"""The command: JSON, SARIF, exit codes, explanations, ignore comments, the pre-commit hook, and evidence that exists."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sarif_pydantic import Sarif

from kernel_lab.cli.doctor import main
from kernel_lab.doctor.catalogue import RULES
from kernel_lab.doctor.rules_for_facts import SENTENCES

ROOT = Path(__file__).parents[2]
FIELD = Path(__file__).parent / "configs" / "field"
UNIT = "[Service]\nExecStart=/v/bin/gunicorn -w 4 a:b\n"


def doctor(*paths, **options):
    chosen = {
        "as_json": False,
        "as_sarif": False,
        "explain": None,
        "fail_on": "warning",
        "machine": False,
        **options,
    }
    return main([Path(path) for path in paths], **chosen)


def command(*arguments, cwd=ROOT):
    return subprocess.run(
        [str(Path(sys.executable).with_name("kernel-lab")), *arguments],
        capture_output=True, text=True, timeout=60, check=False, cwd=cwd,
    )  # fmt: skip


def test_the_json_document(capsys):
    assert doctor(FIELD / "unit-four-workers-hup.service", as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["processes"]["min"] == document["processes"]["max"] == 4
    assert document["processes"]["from"] == [
        {
            "file": str(FIELD / "unit-four-workers-hup.service"),
            "line": 6,
            "factor": 4,
            "why": "gunicorn --workers 4",
        }
    ]
    for finding in document["findings"]:
        assert set(finding) == {"id", "severity", "file", "line", "message", "fix", "evidence"}
        assert finding["line"] >= 1
        assert finding["message"].endswith(".")


def test_the_factors_multiply_to_the_sum(capsys):
    doctor(FIELD / "three-by-twenty-four.compose.yaml", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert [(each["factor"], each["line"]) for each in document["processes"]["from"]] == [(3, 11), (24, 5)]


def test_exit_codes(tmp_path, command_line):
    right = tmp_path / "start.sh"
    right.write_text("exec uvicorn a:b\n")
    assert command_line("doctor", str(right)).returncode == 0
    four = tmp_path / "web.service"
    four.write_text(UNIT)
    assert command_line("doctor", str(four)).returncode == 1
    assert command_line("doctor", str(four), "--fail-on", "error").returncode == 0
    assert command_line("doctor", str(four), "--fail-on", "never").returncode == 0
    bad = command_line("doctor", str(tmp_path / "nowhere"))
    assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (64, "", 1)
    assert command_line("doctor", str(four), "--fail-on", "sometimes").returncode == 64


def test_the_machine_is_one_line_by_default_and_a_list_when_asked(tmp_path):
    (tmp_path / "start.sh").write_text("exec uvicorn a:b\n")
    said = command("doctor", str(tmp_path), cwd=tmp_path)
    assert len(re.findall("^This machine", said.stdout, re.MULTILINE)) == 1
    assert not (tmp_path / "results").exists(), "nothing is written for one line"
    assert "cores:" in command("doctor", "--machine", cwd=tmp_path).stdout


def test_sarif_is_valid(capsys, tmp_path):
    (tmp_path / "web.service").write_text(
        UNIT.replace("\nExec", "\n# kernel-lab: ignore[several-processes] nothing is kept in memory\nExec")
    )
    doctor(tmp_path, FIELD / "three-by-twenty-four.compose.yaml", as_sarif=True)
    log = json.loads(capsys.readouterr().out)
    assert Sarif.model_validate(log).runs[0].tool.driver.name == "kernel-lab doctor"
    assert log["version"] == "2.1.0"
    run = log["runs"][0]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert [
        each["suppressions"][0]["justification"] for each in run["results"] if "suppressions" in each
    ] == ["nothing is kept in memory"]


def test_an_ignore_comment_needs_a_reason(capsys, tmp_path):
    unit = tmp_path / "web.service"
    for comment, code in (
        ("# kernel-lab: ignore[several-processes] all state is in PostgreSQL", 0), ("# kernel-lab: ignore[several-processes]", 1),
        ("# kernel-lab: ignore[several-proceses] a misspelt name", 1), ("# kernel-lab: ignore-file[several-processes] all state is elsewhere", 0),
        ("# kernel-lab: ignore[redis-evicts] another finding", 1), ("# kernel-lab: ignore everything", 1),
    ):  # fmt: skip
        unit.write_text(f"[Service]\n{comment}\nExecStart=/v/bin/gunicorn -w 4 a:b\n")
        assert doctor(unit, as_json=True) == code, comment
        document = json.loads(capsys.readouterr().out)
        assert len(document["ignored"]) == (code == 0)


def test_explain(capsys):
    for rule in RULES:
        assert doctor(explain=rule) == 0
        assert rule in capsys.readouterr().out
    assert doctor(explain="all") == 0
    assert set(RULES) <= set(capsys.readouterr().out.split())
    assert command("doctor", "--explain", "nothing").returncode == 64


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_the_evidence_exists(rule):
    page = (ROOT / "docs" / "doctor.md").read_text()
    assert rule.evidence
    for link in rule.evidence:
        path, _, anchor = link.partition("#")
        assert (ROOT / path).is_file(), link
        if anchor:
            assert f"\n### {anchor}\n" in page, link


def test_the_page_says_what_the_catalogue_says():
    page = " ".join((ROOT / "docs" / "doctor.md").read_text().split())
    for rule in RULES.values():
        for text in (rule.why, rule.fix):
            assert " ".join(text.split()) in page, rule.id


def test_every_sentence_belongs_to_a_rule():
    assert set(SENTENCES) <= set(RULES)


def test_the_hook_is_a_hook():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert {"id", "name", "entry", "language", "files"} <= set(hook)
    pattern = re.compile(hook["files"])
    for name in (
        "gunicorn.conf.py",
        "deploy/compose.yaml",
        "Dockerfile",
        "Procfile",
        "web.service",
        "start.sh",
        "values.yaml",
        "nginx.conf",
    ):
        assert pattern.search(name), name
    assert hook["entry"] == "kernel-lab-doctor"
