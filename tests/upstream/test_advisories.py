"""The private bundle is written outside of the repository, and its searches find what they are for."""

import sqlite3
import stat
import tarfile
from pathlib import Path

import pytest

from kernel_lab.run import registry
from kernel_lab.upstream import advisories, contract, searches

FOUND: dict[str, str | None] = {"token": "with audit_id changed it verifies", "chain": None}


def test_a_place_inside_the_repository_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    inside = registry.root() / "results" / "bundle.tar.gz"
    assert advisories.main(["--out", str(inside)]) == 64
    assert capsys.readouterr().err.endswith("name a place outside of the repository\n")
    assert not inside.exists()


def test_notes_inside_the_repository_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = str(registry.root() / "docs")
    assert advisories.main(["--out", str(tmp_path / "b.tar.gz"), "--notes", notes]) == 64
    assert "outside of the repository" in capsys.readouterr().err


def test_nothing_but_the_path_is_printed_and_its_owner_alone_can_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(advisories, "tried", lambda: FOUND)
    out = tmp_path / "bundle.tar.gz"
    assert advisories.main(["--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with tarfile.open(out) as archive:
        names = {Path(name).name for name in archive.getnames()}
    assert names == {"token.md", "contract.py", "searches.py", "contract.json"}


def test_a_report_has_the_fields_that_upstream_asks_for_and_the_operators_notes(tmp_path: Path) -> None:
    (tmp_path / "token.md").write_text("executed: yes\nalso: 0.11.0\nIt happens like this.\n")
    (tmp_path / "measured.txt").write_text("figures")
    files = advisories.bundle(FOUND, tmp_path)
    report = files["token.md"]
    for field in (
        "affected version",
        "deployment mode",
        "boundary crossed",
        "whether the driver executed | yes",
    ):
        assert f"| {field}" in report
    assert "also: 0.11.0 |" in report
    assert "It happens like this." in report
    assert "chain.md" not in files
    assert files["notes/measured.txt"] == "figures"


def test_what_holds_on_a_right_store_has_no_counter_example() -> None:
    held = [contract.a_changed_token_never_verifies, contract.a_revoked_token_is_refused_by_its_own_store]
    held += [contract.a_changed_record_breaks_the_chain, contract.a_budget_refuses_once_it_is_spent]
    assert [search() for search in held] == [None] * 4


def test_every_interleaving_is_tried(tmp_path: Path) -> None:
    one = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    one.execute("CREATE TABLE t (n)")

    def first() -> None:
        for n in range(3):
            one.execute("INSERT INTO t VALUES (?)", (n,))

    done: list[int] = []
    assert len(list(searches.at_every_statement(one, first, lambda: done.append(1)))) == 3
    one.close()


def test_every_line_is_tried_and_what_the_other_thread_raises_is_told() -> None:
    def first(value: int = 0) -> int:
        value += 1
        return value

    def second() -> None:
        raise LookupError

    told = list(searches.at_every_line(first, first, second))
    assert len(told) == 2
    assert all("LookupError" in where for where in told)


@pytest.mark.parametrize(("power", "found"), [(2, True), (1, False)])
def test_a_call_whose_time_grows_with_the_square_of_its_input_is_found(power: int, found: bool) -> None:
    now = [0.0]

    def call(text: str) -> None:
        now[0] += (len(text) / 1_000) ** power

    told = searches.grows_faster_than_its_size(call, ("x",), 1_000, clock=lambda: now[0])
    assert (told is not None) is found
