import csv
import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from weaver_kernel import Handle

from examples import two_kernels as repro

BOTH = list(repro.SETTINGS)


def observed(answers: Sequence[repro.Answer]) -> dict[str, str]:
    return {answer.step: answer.observed for answer in answers}


@pytest.mark.parametrize("setting", BOTH)
def test_two_kernels_that_share_a_secret_verify_each_others_tokens_and_share_nothing_else(
    setting: str,
) -> None:
    assert observed(repro.reproduce(setting)) == {"a": "yes", "b": "no", "c": "10", "d": "no"}


@pytest.mark.parametrize("setting", BOTH)
def test_a_shared_revocation_store_is_reported_as_propagating(setting: str, tmp_path: Path) -> None:
    answers = repro.reproduce(setting, revocations=str(tmp_path / "revoked.db"))
    assert observed(answers) == {"a": "yes", "b": "yes", "c": "10", "d": "no"}


@pytest.mark.parametrize("setting", BOTH)
def test_without_a_shared_secret_nothing_verifies_and_revocation_is_not_answered(setting: str) -> None:
    answers = observed(repro.reproduce(setting, secret_b="another"))
    assert (answers["a"], answers["b"]) == ("no", "TokenInvalid")


def test_one_kernel_asked_twice_keeps_every_guarantee() -> None:
    def ask(step: str) -> str:
        kernel = repro.Worker(repro.SECRET)
        return repro.STEPS[step][2](kernel, kernel)[0]

    assert {step: ask(step) for step in repro.STEPS} == {"a": "yes", "b": "yes", "c": "5", "d": "yes"}


def test_a_worker_that_does_not_keep_its_own_guarantee_is_no_evidence_about_the_other() -> None:
    class Forgetful(repro.Worker):
        def revoke(self, token: dict[str, Any]) -> None:
            pass

        def expand(self, handle: Handle | None) -> str:
            return "HandleNotFound"

    def ask(step: str) -> str:
        return repro.STEPS[step][2](Forgetful(repro.SECRET), repro.Worker(repro.SECRET))[0]

    assert (ask("b"), ask("d")) == ("not even A does", "not even A can")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.two_kernels", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_command_exits_0_with_one_csv_row_a_setting_and_step(tmp_path: Path) -> None:
    done = run("--out", tmp_path / "new" / "repro.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert "8 of 8 as expected" in done.stdout
    lines = (tmp_path / "new" / "repro.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(lines))
    assert list(rows[0]) == ["setting", "step", "question", "expected", "observed", "detail"]
    assert [(row["setting"], row["step"]) for row in rows] == [(s, q) for s in BOTH for q in "abcd"]
    assert all(row["expected"] == row["observed"] for row in rows)


def test_the_command_exits_1_and_names_what_was_not_as_expected(tmp_path: Path) -> None:
    done = run("--out", tmp_path / "repro.csv", "--revocations", tmp_path / "revoked.db")
    assert done.returncode == 1
    assert "(b) in two processes: expected no, observed yes" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--wrong"], "unrecognized arguments: --wrong"),
        (["--revocations", "/nowhere/revoked.db"], "/nowhere/revoked.db: unable to open database file"),
        (["--out", "/dev/null/repro.csv"], "name a file that can be written"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_64(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        repro.main(arguments)
    stderr = capsys.readouterr().err
    assert ended.value.code == 64
    assert said in stderr
    assert stderr.count("\n") == 1


def test_the_table_needs_no_rich(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    answers = repro.reproduce("one process")
    repro.show([dataclasses.replace(answer, setting=setting) for setting in BOTH for answer in answers])
    assert "(c)  limit 5 in 60 s: how many grants in all?" in capsys.readouterr().out
