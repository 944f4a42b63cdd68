"""What the gate leaves for other programs: all of it says the same, and a strange name changes none of it."""

import json
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from kernel_lab.gate import outputs

TEXT = """
[[guarantee]]
claim = "tokens"
deployment = "redis"

[[guarantee]]
name = '''dead | <b>50 %</b>, `now`: "x"'''
claim = "revocation"
deployment = "memory-4"
connections = "round_robin"

[[guarantee]]
claim = "revocation"
deployment = "redis"
upper_bound = 0.001
"""


@pytest.fixture
def judged(command_line, declare, saved, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "summary.md").write_text("before\n")
    done = command_line(
        "gate", "--guarantees", declare(TEXT), "--run", saved, "--junit", "out/junit.xml", "--json",
        "out/gate.json", "--badge", "out/badge.svg",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    return done, tmp_path


def test_the_json_is_what_its_published_schema_says(judged):
    said = json.loads((judged[1] / "out/gate.json").read_text())
    schema = json.loads(outputs.SCHEMA.read_text())
    assert schema == json.loads(json.dumps(outputs.schema())), "write kernel_lab/gate/gate.schema.json anew"
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(said, schema, cls=jsonschema.Draft202012Validator)
    assert said["exit_code"] == 1
    assert [one["validity"] for one in said["guarantees"]] == ["valid", "invalid", "unknown"]
    assert said["guarantees"][1]["counterexample"]
    assert said["run"]["commit"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(said | {"validity": "fine"}, schema)


def test_junit_has_a_failure_and_an_error(judged):
    root = ET.parse(judged[1] / "out/junit.xml").getroot()  # noqa: S314 - we wrote it
    suite = root.find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    good, broken, unknown = suite.findall("testcase")
    assert good.find("failure") is None
    assert good.find("error") is None
    assert broken.get("name") == 'dead | <b>50 %</b>, `now`: "x"'
    assert "revoke token" in broken.find("failure").text
    assert "without a failure" in unknown.find("error").get("message")
    properties = {one.get("name"): one.get("value") for one in suite.find("properties")}
    assert properties["kernel"] == "weaver-kernel 0.12.0"


def test_what_xml_does_not_allow_is_replaced():
    said = outputs._clean("a\x00b\x1b[31m\ud800c")
    assert ET.fromstring(f"<a>{said}</a>").text == "a\ufffdb\ufffd[31m\ufffdc"  # noqa: S314


def test_the_summary_is_appended_and_its_table_keeps_its_columns(judged):
    text = (judged[1] / "summary.md").read_text()
    assert text.startswith("before\n### ❌ kernel-lab gate: 1 of 3 guarantees hold, 1 broken, 1 not judged\n")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.replace("\\|", "").count("|") for line in rows] == [4] * 5
    assert "<b>50" not in text
    assert "revoke token" in text


def test_annotations_are_one_line_each_and_point_into_the_file(judged):
    lines = [line for line in judged[0].stdout.splitlines() if line.startswith("::")]
    assert len(lines) == 2
    assert lines[0].startswith("::error file=")
    assert ',line=6,title=dead | <b>50 %25</b>%2C `now`%3A "x"::invalid over round_robin' in lines[0]
    assert "%0A" in lines[0]
    assert lines[1].startswith("::warning file=")
    assert ",line=12," in lines[1]


def test_the_badge_is_an_image_that_says_how_many_hold(judged):
    root = ET.parse(judged[1] / "out/badge.svg").getroot()  # noqa: S314 - we wrote it
    assert root.get("aria-label") == "guarantees: 1 of 3 hold, 1 broken, 1 not judged"
    assert "#b3261e" in (judged[1] / "out/badge.svg").read_text()


@pytest.mark.parametrize("option", ["--junit", "--json", "--badge", "--summary"])
def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(
    command_line, declare, tmp_path, option
):
    path = declare('[[guarantee]]\nclaim = "tokens"\ndeployment = "redis"\n')
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "file" / "below"):
        done = command_line("gate", "--guarantees", path, option, place)
        assert done.returncode == 64
        assert done.stderr.startswith(f"kernel-lab: {option} {place}: cannot be written")
        assert len(done.stderr.splitlines()) == 1
        assert not list(tmp_path.glob("results*"))
