"""What goes wrong is one sentence; one bad cell does not stop the others; a signal ends a command in silence."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kernel_lab.cli.entry import ENDS
from kernel_lab.cli.main import main
from kernel_lab.cli.terminal import visible
from kernel_lab.judge import history

COMMAND = Path(sys.executable).with_name("kernel-lab")
SAVED = Path(__file__).parent.parent / "histories"


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kernel-lab", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return run


@pytest.fixture
def run_folder(tmp_path):
    """A run of four cells."""
    for claim, name in (
        ("handles", "good-redis"), ("revocation", "good-redis"), ("stats", "good-sidecar"),
        ("tokens", "bad-a-secret-each"),
    ):  # fmt: skip
        shutil.copytree(SAVED / claim / name, tmp_path / "run" / "cells" / claim / "memory-4-fresh")
    (tmp_path / "run" / "environment.json").write_text("{}")
    return tmp_path / "run"


def history_of(run_folder, claim):
    folder = run_folder / "cells" / claim / "memory-4-fresh"
    return next(folder.glob("history.jsonl*"))


def spoil_directory(path):
    path.unlink()
    path.mkdir()


def spoil_fifo(path):
    path.unlink()
    os.mkfifo(path)


def spoil_deep(path):
    path.unlink()
    path.with_name("history.jsonl").write_bytes(b'{"index":0,"f":"grant","input":' + b"[" * 200_000 + b"\n")


def spoil_bomb(path):
    path.unlink()
    with gzip.open(path.with_name("history.jsonl.gz"), "wb", compresslevel=1) as file:
        for _ in range(6):
            file.write(b" " * (1 << 20))


def spoil_encoding(path):
    path.unlink()
    path.with_name("history.jsonl").write_bytes(b'{"index":0,"client":"\xff"}\n')


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_directory, "is no regular file"),
        (spoil_fifo, "is no regular file"),
        (spoil_deep, "history.jsonl:1: is nested too deeply"),
        (spoil_bomb, "history.jsonl.gz:1: is longer than the 4,194,304 bytes"),
        (spoil_encoding, "history.jsonl:1: "),
        (lambda path: path.unlink(), "no history.jsonl beside its"),
        (lambda path: path.with_name("cell.json").unlink(), "cell.json: is missing"),
        (lambda path: path.with_name("cell.json").write_text("[" * 200_000), "cell.json: "),
    ],
)
def test_one_bad_cell_is_named_and_the_others_are_judged(command, run_folder, spoil, said):
    shutil.rmtree(run_folder / "cells" / "tokens")
    spoil(history_of(run_folder, "handles"))
    code, out, err = command("check", run_folder)
    assert (code, err) == (2, "")
    assert said in out
    assert "cells/handles/memory-4-fresh" in out
    assert "✓ valid    revocation" in out
    assert "✓ valid    stats" in out


def test_a_violation_beside_a_bad_cell_is_still_one(command, run_folder):
    history_of(run_folder, "handles").unlink()
    assert command("check", run_folder)[0] == 1


def test_a_cut_line_names_its_cell_its_line_and_its_byte(command, run_folder):
    path = history_of(run_folder, "handles")
    whole = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    path.unlink()
    cut = whole[: len(whole) - 30]
    path.with_name("history.jsonl").write_bytes(cut)
    about = json.loads(path.with_name("cell.json").read_text())
    about.pop("operations", None)  # an older run does not say how many lines there were
    path.with_name("cell.json").write_text(json.dumps(about))
    _, out, _ = command("check", run_folder)
    lines = cut.count(b"\n") + 1
    assert f"line {lines} of history.jsonl is cut off at byte {len(cut)}" in out
    assert "? unknown  handles" in out


def test_a_history_larger_than_the_bound_is_not_read(command, run_folder, monkeypatch):
    monkeypatch.setattr(history, "MOST_BYTES", 100)
    assert "has more than the 100 bytes" in command("check", run_folder)[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--deployments", "{latin}"], "is not UTF-8 at byte"),
        (["run", "--deployments", "{toplevel}"], "stands outside of a table"),
        (["run", "--promises", "{latin}"], "is not UTF-8 at byte"),
        (["run", "--out", "{file}"], "is no folder; name a new one"),
        (["run", "--out", "/proc/nowhere"], "cannot be written to"),
        (["run", "--deployment", "single", "--deployment", "single"], "named twice"),
        (["report", "{empty_csv}"], "verdicts.csv: is empty"),
        (["report", "{bad_csv}"], "verdicts.csv: is not UTF-8"),
        (["report", "{csv_folder}"], "verdicts.csv: "),
        (["check", "{file}"], "neither a run nor a cell"),
        (["check", "bad\x1b[31mname"], "bad\\x1b[31mname"),
        (["pack", "{empty_csv}", "{file}"], "is empty"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_64(command, tmp_path, arguments, said):
    places = {
        name: tmp_path / name for name in ("latin", "toplevel", "file", "empty_csv", "bad_csv", "csv_folder")
    }
    places["latin"].write_bytes(b'[a]\ntitle = "\xe9"\n')
    places["toplevel"].write_text("workers = 3\n")
    places["file"].write_text("a file")
    for name, held in (("empty_csv", b""), ("bad_csv", b"run,scenario\n\xff\xfe,x\n")):
        places[name].mkdir()
        (places[name] / "verdicts.csv").write_bytes(held)
        (places[name] / "environment.json").write_text("{}")
    (places["csv_folder"] / "verdicts.csv").mkdir(parents=True)
    code, out, err = command(*(argument.format(**places) for argument in arguments))
    assert (code, out) == (64, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("kernel-lab: ")
    assert said in err


def test_a_full_disk_is_one_sentence(command, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device", str(tmp_path / "run" / "environment.json"))

    monkeypatch.setattr("kernel_lab.run.folder.write_whole", full)
    code, _, err = command("run", "--deployment", "single", "--out", tmp_path / "run")
    assert code == 64
    assert err == f"kernel-lab: {tmp_path}/run/environment.json: cannot be used (No space left on device)\n"


def test_a_terminal_without_the_signs_gets_others(run_folder):
    done = subprocess.run(
        [COMMAND, "check", run_folder], capture_output=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert b"+ valid    revocation" in done.stdout
    assert b"x invalid  tokens" in done.stdout


def test_what_would_steer_a_terminal_is_written_as_an_escape():
    assert visible("a\x1b]0;x\x07\nb\u202ec é ✓") == "a\\x1b]0;x\\x07\\nb\\u202ec é ✓"


@pytest.mark.parametrize(
    "number",
    [number if number == signal.SIGHUP else pytest.param(number, marks=pytest.mark.slow) for number in ENDS],
    ids=lambda one: one.name,
)
def test_a_signal_in_the_first_second_is_silent(tmp_path, number, heard):
    command = subprocess.Popen(
        [COMMAND, "run", "--quick", "--out", tmp_path / "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    status = Path(f"/proc/{command.pid}/status")
    bit = 1 << (signal.SIGHUP - 1)  # the last of the three that it handles; Python itself handles SIGINT
    caught = 0
    while not caught & bit:
        held = next((line for line in status.read_text().splitlines() if line.startswith("SigCgt")), "0 0")
        caught = int(held.split()[1], 16)
        time.sleep(0.005)
    command.send_signal(number)
    out, err = command.communicate(timeout=20)
    assert command.returncode == 130
    assert (out, b"Traceback" in err, len(err.splitlines()) <= 1) == (b"", False, True)
    assert not (tmp_path / "run").exists()
