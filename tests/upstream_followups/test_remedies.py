"""No reproduction is green for ever: with the change that its follow-up proposes, it turns red.

The changes are patches of the installed package, applied one by one and all together. None lets a module grow
beyond 300 lines, or beyond its length in the pinned version where that is more: upstream's own rule.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import weaver_kernel
from test_followups import EVERY, run

from kernel_lab.upstream.followups import REMEDIES, Followup

PACKAGE = Path(weaver_kernel.__file__).parent
CHANGED = [one for one in EVERY if one.remedies]
LINES = 300


def patched(folder: Path, diffs: Iterable[Path]) -> Path:
    """A copy of the installed package with the patches applied; the folder for PYTHONPATH."""
    source = folder / "src"
    shutil.copytree(PACKAGE, source / "weaver_kernel", ignore=shutil.ignore_patterns("__pycache__"))
    for diff in diffs:
        done = subprocess.run(
            ["git", "apply", "-p1", str(diff)], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{diff.name}: {done.stderr}"
    return source


def too_long(source: Path) -> list[str]:
    found = []
    for path in sorted((source / "weaver_kernel").rglob("*.py")):
        before = PACKAGE / path.relative_to(source / "weaver_kernel")
        ceiling = max(LINES, len(before.read_text("utf-8").splitlines()) if before.exists() else 0)
        length = len(path.read_text("utf-8").splitlines())
        if length > ceiling:
            found.append(f"{path.name}: {length} lines, at most {ceiling}")
    return found


def lengths_told(one: Followup) -> list[tuple[str, int, int]]:
    """File, lines before, lines after: what a follow-up says of the files it changes."""
    told = re.findall(r"`([\w/]+\.py)`\s+(?:grows|shrinks)\s+from\s+(\d+)\s+to\s+(\d+)", one.body)
    told += [(name, lines, lines) for name, lines in re.findall(r"`([\w/]+\.py)` stays at (\d+)", one.body)]
    return [(name, int(before), int(after)) for name, before, after in told]


def lines_of(package: Path, name: str) -> int:
    return len((package / name).read_text("utf-8").splitlines())


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(one, marks=[pytest.mark.slow] if number >= 4 else [])
        for number, one in enumerate(CHANGED)
    ],
    ids=lambda one: one.number,
)
def test_a_reproduction_turns_red_once_its_change_is_made(one: Followup, tmp_path: Path) -> None:
    source = patched(tmp_path, one.remedies)
    assert too_long(source) == []
    for name, before, after in lengths_told(one):
        assert (name, lines_of(PACKAGE, name), lines_of(source / "weaver_kernel", name)) == (
            name,
            before,
            after,
        )
    done = run(one.script, tmp_path, PYTHONPATH=str(source))
    assert done.returncode == 1, done.stderr
    assert "NO LONGER" in done.stdout


@pytest.mark.slow
def test_all_changes_together_turn_every_reproduction_red_and_fit(tmp_path: Path) -> None:
    source = patched(tmp_path, sorted(REMEDIES.glob("*.diff")))
    assert too_long(source) == []
    green = [
        one.number for one in CHANGED if run(one.script, tmp_path, PYTHONPATH=str(source)).returncode != 1
    ]
    assert green == []


def test_a_comment_proposes_no_change_of_its_own() -> None:
    assert [one.number for one in EVERY if not one.remedies] == ["06"]
    assert {path.stem for path in REMEDIES.glob("*.diff")} == {one.number for one in CHANGED}


SERIALISED = """
import sys, threading, time
from weaver_kernel.rate_limit import RateLimiter

class Serialised(RateLimiter):
    def __init__(self, lock):
        super().__init__(clock=lambda: 0.0)
        self.lock = lock

    def check(self, *args):
        with self.lock:
            return super().check(*args)

    def record(self, key):
        with self.lock:
            super().record(key)

    def acquire(self, *args):
        with self.lock:
            return super().acquire(*args)

limiter = Serialised(threading.RLock() if sys.argv[1] == "reentrant" else threading.Lock())
admitted = []
def attempt():
    for _ in range(10):
        if limiter.acquire("one window", 5, 60.0):
            admitted.append(1)
threads = [threading.Thread(target=attempt, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
until_s = time.monotonic() + (20.0 if sys.argv[1] == "reentrant" else 1.0)
for thread in threads:
    thread.join(timeout=max(0.0, until_s - time.monotonic()))
print(len(admitted), any(thread.is_alive() for thread in threads))
"""


@pytest.mark.parametrize(("lock", "printed"), [("reentrant", "5 False"), ("plain", "0 True")])
def test_the_limiter_seam_fits_an_implementation_that_serialises_its_calls(
    lock: str, printed: str, tmp_path: Path
) -> None:
    """Follow-up 05 says that such an implementation needs a reentrant lock: with a plain one it stands still."""
    source = patched(tmp_path, [REMEDIES / "05.diff"])
    done = subprocess.run(
        [sys.executable, "-c", SERIALISED, lock], env={"PYTHONPATH": str(source)}, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == printed
