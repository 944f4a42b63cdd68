"""The action, the GitLab template and the examples: what they would run in CI is run here, step by step."""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from kernel_lab.gate.guarantees import read_guarantees

ROOT = Path(__file__).resolve().parents[2]
CI = ROOT / "examples" / "ci"
GUARANTEES = '[[guarantee]]\nclaim = "revocation"\ndeployment = "memory-4"\nconnections = "round_robin"\n'


def bash(script, folder, env):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": path, **env},
    )  # fmt: skip


def read(path):
    return yaml.safe_load(path.read_text())


def action_step(folder, **inputs):
    """The environment and the script of the action's last step, with the expressions filled in."""
    action = read(ROOT / "action.yml")
    values = {name: str(one.get("default", "")) for name, one in action["inputs"].items()} | inputs
    step = action["runs"]["steps"][-1]

    def fill(text):
        return re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: values[found[1]], text)

    assert step["shell"] == "bash"
    return bash(
        fill(step["run"]),
        folder / fill(step["working-directory"]),
        {k: fill(v) for k, v in step["env"].items()},
    )


def test_the_action_writes_reports_and_fails_with_the_counter_example(tmp_path, monkeypatch):
    (tmp_path / "guarantees.toml").write_text(GUARANTEES)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    done = action_step(tmp_path, run=str(ROOT / "results" / "reference"))
    assert done.returncode == 1, done.stderr
    assert "::error file=guarantees.toml,line=1,title=revocation on memory-4" in done.stdout
    assert "revoke token" in (tmp_path / "summary.md").read_text()
    names = {path.name for path in (tmp_path / "kernel-lab-gate").iterdir()}
    assert names == {"junit.xml", "gate.json", "badge.svg"}


def test_the_action_names_inputs_that_exist_and_pins_what_it_uses():
    text = (ROOT / "action.yml").read_text()
    action = read(ROOT / "action.yml")
    assert set(re.findall(r"inputs\.([a-z-]+)", text)) == set(action["inputs"])
    for file in (ROOT / "action.yml", CI / "github.yml"):
        for used in re.findall(r"uses: (\S+)", file.read_text()):
            assert re.search(r"@[0-9a-f]{40}$", used) or used == "OWNER/REPOSITORY@main", used
    assert (ROOT / "constraints.txt").is_file()


def test_the_gitlab_job_leaves_its_report_where_it_says(tmp_path):
    (tmp_path / "guarantees.toml").write_text(GUARANTEES)
    job = read(CI / "gitlab.yml")["guarantees"]
    script = "\n".join(job["script"]).replace(
        "--out kernel-lab-gate/run", f"--run {ROOT / 'results' / 'reference'}"
    )
    done = bash(script, tmp_path, {"GUARANTEES": job["variables"]["GUARANTEES"]})
    assert done.returncode == 1, done.stderr
    report = tmp_path / job["artifacts"]["reports"]["junit"]
    assert ET.parse(report).getroot().get("failures") == "1"  # noqa: S314 - we wrote it


def test_the_pre_commit_example_names_a_hook_that_there_is():
    named = {hook["id"] for repo in read(CI / "pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    assert named <= {hook["id"] for hook in read(ROOT / ".pre-commit-hooks.yaml")}


def test_the_examples_guarantees_can_be_read():
    assert len(read_guarantees(ROOT / "examples" / "gate" / "guarantees.toml").guarantee) == 3


@pytest.mark.live
@pytest.mark.timeout(180)
@pytest.mark.skipif(not os.environ.get("CHANGED_STORES"), reason="CHANGED_STORES=3 makes the change so often")
def test_one_changed_line_from_the_atomic_to_the_non_atomic_store_breaks_the_gate(tmp_path):
    for number in range(int(os.environ["CHANGED_STORES"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in ("guarantees.toml", "deployments.toml"):
            text = (ROOT / "examples" / "gate" / name).read_text()
            (folder / name).write_text(text.replace('state = "{store}"', 'state = "naive+{store}"'))
        done = bash("kernel-lab gate --out run", folder, {})
        assert done.returncode == 1, done.stdout
        assert " broken" in done.stdout
        assert "+0.0 ms" in done.stdout
