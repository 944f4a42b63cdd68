"""The command line: names to pipe on, one line for bad input."""

import subprocess
import sys
from pathlib import Path

import pytest

from kernel_lab.cli.main import main
from kernel_lab.run.plan import plan_of

COMMAND = Path(sys.executable).with_name("kernel-lab")


def test_lists_are_one_name_a_line(command_line):
    done = subprocess.run([COMMAND, "list", "deployments"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert {"single", "memory-4", "sticky-host"} <= set(done.stdout.splitlines())
    assert {"tokens", "rate_limit", "revocation", "handles"} <= set(
        command_line("list", "scenarios").stdout.splitlines()
    )


def test_what_kills_a_worker_comes_last_wherever_it_was_named():
    plan = plan_of(
        [], ["streams", "budget", "tokens"], [], quick=True, seed=1, out=Path("nowhere"), kernel=None
    )
    assert [scenario.name for scenario in plan.scenarios] == ["tokens", "budget", "streams"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "nothing"], "there is no such list; one of: deployments, scenarios, faults"),
        (["run", "--deployment", "memory-5"], "--deployment memory-5: not known; one of: single, memory-2"),
        (["run", "--scenario", "rates"], "--scenario rates: not known; one of: tokens"),
        (["run", "--connections", "udp"], "--connections udp: not known; one of: round_robin"),
        (["run", "--kernel", "mine"], "should be module:factory"),
        (["run", "--no-such-option"], "--no-such-option"),
        (["run", "--attach", "http://127.0.0.1:9"], "no lab answers there"),
        (["run", "--seed", "x"], "--seed"),
        (["up", "memory-5"], "memory-5: not known"),
        (["check", "no-such-folder"], "no-such-folder"),
        (["gate", "--guarantees", "no-such-file"], "no-such-file"),
        (["nonsense"], "nonsense"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_64(arguments, said, command_line):
    done = command_line(*arguments)
    assert done.returncode == 64, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_run_is_never_overwritten(tmp_path, command_line):
    (tmp_path / "verdicts.csv").write_text("kept")
    done = command_line("run", "--out", str(tmp_path))
    assert done.returncode == 64
    assert "already holds a run" in done.stderr
    assert (tmp_path / "verdicts.csv").read_text() == "kept"


@pytest.mark.parametrize("command", ["", "list", "up", "run", "check", "predict", "gate", "doctor"])
def test_help_teaches(command, command_line):
    done = command_line(*([command] if command else []), "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 5


def test_every_command_tells_its_exit_codes(monkeypatch, capsys):
    def help_of(*command):
        monkeypatch.setattr("sys.argv", ["kernel-lab", *command, "--help"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    said = help_of()
    for code in ("0:", "1:", "2:", "64:", "130:"):
        assert f"  {code} " in said
    commands = [
        line.split()[0]
        for line in said.split("Commands:")[1].split("Exit codes")[0].splitlines()
        if line.strip()
    ]
    assert "gate" in commands
    for command in commands:
        assert "Exit code" in help_of(command), command
