"""replay.py beside every invalid verdict: plain httpx, shows the anomaly where it is and nowhere else."""

import ast
import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernel_lab.judge.verdict import Anomaly, Cell, DeploymentFacts, Validity, Verdict
from kernel_lab.replay.script import script
from kernel_lab.replay.story import NoStory
from kernel_lab.run import registry
from kernel_lab.run.folder import CellFolder
from kernel_lab.run.judging import judge_cell, write_replay
from kernel_lab.run.native import open_native

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference" / "cells"
BROKEN = sorted(
    path.parent
    for path in REFERENCE.glob("*/*/verdict.json")
    if path.with_name("cell.json").exists() and json.loads(path.read_text())["validity"] == "invalid"
)
SHOWN = [
    "revocation/memory-4-round_robin", "rate_limit/memory-4-round_robin", "handles/memory-4-round_robin",
    "traces/memory-4-round_robin",
]  # fmt: skip


def written(tmp_path, place):
    folder = CellFolder(tmp_path / place.replace("/", "-"))
    shutil.copytree(REFERENCE / place, folder.path)
    cell = folder.read_cell()
    assert write_replay(folder, cell, judge_cell(folder), registry.scenarios()[cell.scenario].claim) == ""
    return folder.replay


def run(path, url):
    # -I: neither the checkout nor the environment helps it to import anything of ours
    return subprocess.run(
        [sys.executable, "-I", path, url], capture_output=True, text=True, check=False, timeout=100
    )


@pytest.mark.skipif(not BROKEN, reason="the reference run has no broken cell")
def test_broken_cells_of_the_reference_run_have_replays_that_import_nothing_of_ours(tmp_path):
    for place in BROKEN[:: max(1, len(BROKEN) // 20)]:
        text = written(tmp_path, f"{place.parent.name}/{place.name}").read_text()
        tree = ast.parse(text)
        modules = {
            name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
        } | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        ours = {name for name in modules if name.split(".")[0] not in {*sys.stdlib_module_names, "httpx"}}
        assert not ours, (place, ours)
        assert ast.get_docstring(tree).startswith("Replay of a counter-example: ")


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_replay_shows_the_anomaly_where_it_is_and_not_on_redis(tmp_path):
    scripts = {place: written(tmp_path, place) for place in SHOWN}

    async def on(deployment, places):
        env = registry.settings(quick=True)
        async with open_native(registry.deployments()[deployment], env, tmp_path / deployment) as live:
            done = [await asyncio.to_thread(run, scripts[place], live.base_url) for place in places]
        return {place: one.returncode for place, one in zip(places, done, strict=True)}

    assert asyncio.run(on("memory-4", SHOWN)) == dict.fromkeys(SHOWN, 1)
    assert asyncio.run(on("redis", SHOWN)) == dict.fromkeys(SHOWN, 0)


def test_where_nobody_answers_it_says_so_with_its_own_exit_code(tmp_path):
    path = written(tmp_path, SHOWN[0])
    done = run(path, "http://127.0.0.1:9")
    assert (done.returncode, "ConnectError" in done.stderr) == (2, True), done.stderr
    done = subprocess.run([sys.executable, "-I", path], capture_output=True, text=True, check=False)
    assert (done.returncode, "usage" in done.stderr) == (64, True)


def told(**changes):
    line = {
        "index": 0, "client": "c0", "f": "grant", "input": {"principal": "p", "capability": "c"},
        "output": None, "outcome": "fail", "call_ns": 0, "return_ns": 1, "worker": "r0/1/a",
        "connection": "k0", "error": "rate_limited",
    } | changes  # fmt: skip
    verdict = Verdict(
        claim="tokens", validity=Validity.INVALID, counterexample=(line,), story=("one line",),
        anomalies=(Anomaly(kind="k", message="said", operations=(0,)),),
    )  # fmt: skip
    cell = Cell(scenario="tokens", deployment=DeploymentFacts(name="d"), connections="fresh")
    return [line], verdict, cell


@pytest.mark.parametrize(
    "changes",
    [
        {"error": '"); import os; os.abort(); ("'},
        {"error": "a\nimport os; os.abort()"},
        {"input": {"principal": "p", "capability": "x'); import os; os.abort(); ('"}},
        {"input": {"principal": "p", "capability": "x\u2028import os"}},
        {"input": {"principal": 'p"""', "capability": 'c"""\\'}},
    ],
)
def test_a_name_from_a_history_is_never_a_statement(changes):
    try:
        text = script(*told(**changes), 'claim """ \\')
    except NoStory:
        return
    tree = ast.parse(text)
    assert not [
        node for node in ast.walk(tree) if isinstance(node, ast.Import) and node.names[0].name == "os"
    ]


def test_a_counter_example_that_no_client_can_repeat_has_no_replay_and_an_old_one_goes(tmp_path):
    folder = CellFolder(tmp_path / "cell")
    folder.path.mkdir()
    folder.replay.write_text("an older one")
    history, verdict, cell = told(f="invoke", input={"token_id": "t", "principal": "p", "tampered": True})
    folder.recorded.write_text(json.dumps(history[0]) + "\n")
    assert "altered token" in write_replay(folder, cell, [verdict], "claim")
    assert not folder.replay.exists()
    history, verdict, cell = told(f="invoke", input={"token_id": "t", "principal": "p"})
    folder.recorded.write_text(json.dumps(history[0]) + "\n")
    assert "no recorded call made" in write_replay(folder, cell, [verdict], "claim")
