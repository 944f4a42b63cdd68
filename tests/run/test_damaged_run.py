"""A run folder that was damaged in any way: never a traceback, and never valid what was not.

``LAB_DAMAGES`` says how many damages are tried.
"""

import gzip
import os
import random
import shutil
import sys
from pathlib import Path

import pytest
from effort import effort

from kernel_lab.cli.main import main
from kernel_lab.judge.verdict import Validity
from kernel_lab.publish.rebuild import rebuild
from kernel_lab.run.folder import CellFolder
from kernel_lab.run.judging import judge_path

SAVED = Path(__file__).parent.parent / "histories"
DAMAGES = effort(12, 40, "LAB_DAMAGES")
CELLS = [
    ("budget", "good-redis", "redis"), ("capabilities", "bad-memory-4-fresh", "memory-4"),
    ("handles", "good-redis", "redis"), ("rate_limit", "bad-redis-naive", "memory-4"),
    ("revocation", "bad-memory-4-fresh", "memory-4"), ("revocation", "good-redis", "redis"),
    ("stats", "good-sidecar", "sidecar"), ("streams", "bad-no-trace-elsewhere", "memory-4"),
    ("tokens", "bad-a-secret-each", "no-secret"), ("traces", None, "memory-4"),
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run, sealed as the recorder seals it, and what each of its cells was judged."""
    run = tmp_path_factory.mktemp("whole") / "run"
    for claim, name, deployment in CELLS:
        saved = SAVED / claim / (name or next(path.name for path in sorted((SAVED / claim).glob("bad-*"))))
        shutil.copytree(saved, run / "cells" / claim / f"{deployment}-fresh")
    import msgspec

    for folder in (CellFolder(path) for path in run.glob("cells/*/*")):
        for other in ("expected.json", "verdict.json"):
            (folder.path / other).unlink(missing_ok=True)
        if folder.packed.exists():
            folder.recorded.write_bytes(gzip.decompress(folder.packed.read_bytes()))
            folder.packed.unlink()
        lines = folder.recorded.read_bytes().count(b"\n")
        facts = folder.read_cell()
        named = msgspec.structs.replace(facts.deployment, name=folder.path.name.removesuffix("-fresh"))
        folder.seal(
            msgspec.structs.replace(
                facts, operations=lines, deployment=named, connections="fresh", fault=None
            )
        )
    (run / "environment.json").write_text("{}")
    rebuild(run)
    (run / "guarantees.toml").write_text(
        "".join(f'[[guarantee]]\nclaim = "{claim}"\ndeployment = "{where}"\n' for claim, _, where in CELLS)
    )
    return run, {
        str(folder.path.relative_to(run)): verdicts[0].validity for folder, _, verdicts in judge_path(run)
    }


def flip(data, rng):
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def drop(data, rng):
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randrange(1, 40) :]


def cut(data, rng):
    return data[: rng.randrange(len(data))]


def insert(data, rng):
    at = rng.randrange(len(data))
    what = rng.choice(
        [b"\x00", b"\xff\xfe", b"[" * 5000, b"\x1b[31m", b"[/red]", b"1e300", b"null", b'"', b"\n"]
    )
    return data[:at] + what + data[at:]


def without_a_line(data, rng):
    lines = data.splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    return b"".join(lines)


def line_twice(data, rng):
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    return b"".join([*lines[:at], lines[at], *lines[at:]])


def shuffled(data, rng):
    lines = data.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines)


def number(data, rng):
    digits = [at for at, one in enumerate(data) if 48 <= one <= 57]
    if not digits:
        return data + b"0"
    at = rng.choice(digits)
    return data[:at] + str(rng.randrange(10)).encode() + data[at + 1 :]


def other_word(data, rng):
    one, other = rng.choice(
        [(b"invalid", b"valid"), (b"fail", b"ok"), (b"ok", b"info"), (b"true", b"false"), (b"false", b"true"),
         (b"unknown", b"valid"), (b"revoke", b"grant"), (b"r0/", b"r1/")]
    )  # fmt: skip
    places = data.count(one)
    if not places:
        return flip(data, rng)
    parts = data.split(one)
    at = rng.randrange(1, len(parts))
    return one.join(parts[:at]) + other + one.join(parts[at:])


CONTENT = [flip, drop, cut, insert, without_a_line, line_twice, shuffled, number, other_word]


def gone(path, _):
    path.unlink()


def folder(path, _):
    path.unlink()
    path.mkdir()


def fifo(path, _):
    path.unlink()
    os.mkfifo(path)


def link(path, _):
    path.unlink()
    path.symlink_to("/etc/hostname")


def emptied(path, _):
    path.write_bytes(b"")


def cell_gone(path, _):
    place = path.parent if path.parent.parent.parent.name == "cells" else path
    shutil.rmtree(place) if place.is_dir() else place.unlink()


PLACE = [gone, folder, fifo, link, emptied, cell_gone]


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["kernel-lab", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    assert end.value.code in (0, 1, 2, 64), said
    assert "Traceback" not in said.err
    assert "\x1b" not in said.out + said.err
    if end.value.code == 64:
        assert len(said.err.splitlines()) == 1, said.err
    return end.value.code


@pytest.mark.counted
@pytest.mark.timeout(3000)
def test_no_damage_ends_in_a_traceback_or_makes_valid_what_was_not(whole, tmp_path, monkeypatch, capsys):
    run, before = whole
    assert set(before.values()) == {Validity.VALID, Validity.INVALID}
    for seed in range(DAMAGES):
        rng = random.Random(seed)
        damaged = tmp_path / f"run{seed}"
        shutil.copytree(run, damaged)
        files = sorted(
            path for path in damaged.rglob("*")
            if path.suffix in (".json", ".jsonl", ".csv") and path.is_file()
        )  # fmt: skip
        path = rng.choice(files)
        if rng.random() < 0.8:
            damage = rng.choice(CONTENT)
            path.write_bytes(damage(path.read_bytes(), rng))
        else:
            damage = rng.choice(PLACE)
            damage(path, rng)
        about = f"seed {seed}: {damage.__name__} of {path.relative_to(damaged)}"
        code = command(monkeypatch, capsys, "check", damaged)
        assert code in (1, 2), about
        for cell, _, verdicts in judge_path(damaged):
            name = str(cell.path.relative_to(damaged))
            now = verdicts[0].validity
            assert now is not Validity.VALID or before.get(name) is Validity.VALID, (about, name)
        for arguments in (
            ("gate", "--guarantees", damaged / "guarantees.toml", damaged), ("report", damaged),
            ("predict", damaged), ("rebuild", damaged),
        ):  # fmt: skip
            code = command(monkeypatch, capsys, *arguments)
            assert arguments[0] != "gate" or code != 0, about
        shutil.rmtree(damaged)
