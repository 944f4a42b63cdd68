"""What other people's code says in an error lands in no file of a run: its class and its place do."""

import httpx

from kernel_lab.deployments.live import StackFailed
from kernel_lab.judge.checkers import CHECKERS
from kernel_lab.judge.completeness import judge_history
from kernel_lab.judge.verdict import Cell, DeploymentFacts
from kernel_lab.redaction import told
from kernel_lab.run.record import cause

SECRET = "s3cret-of-somebody"


def raised(error):
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001
        return raised


class Theirs(Exception):  # noqa: N818
    """An error of other people's code."""


def test_an_error_of_other_peoples_code_keeps_its_class_and_place_and_loses_its_text():
    for error in (
        Theirs(SECRET),
        RuntimeError(f"postgres://u:{SECRET}@db"),
        KeyError(SECRET),
        ValueError(f"a\n{SECRET}"),
    ):
        said = cause(ExceptionGroup("several", [raised(error)]))
        assert SECRET not in said
        assert said.startswith(f"{type(error).__name__} at test_redaction.py:")
    assert told(raised(OSError(28, "No space left on device", SECRET))) == "OSError: No space left on device"


def test_our_own_errors_and_the_clients_are_told_without_credentials():
    assert (
        cause(httpx.ConnectError(f"no way to http://u:{SECRET}@host"))
        == "ConnectError: no way to http://***@host"
    )


def test_the_log_of_a_server_is_shown_and_not_kept():
    error = StackFailed(
        "memory-4: gunicorn-r0 ended with 3 before it was ready", f"; the last lines: {SECRET}"
    )
    assert SECRET in str(error)
    assert cause(error) == "memory-4: gunicorn-r0 ended with 3 before it was ready; its log says why"


def test_a_checker_of_other_people_that_crashes_tells_where():
    class Checker:
        CLAIM, JUDGES = "tokens", CHECKERS["tokens"].JUDGES

        @staticmethod
        def check(history, cell):
            raise Theirs(SECRET)

    verdict = judge_history([], Cell(scenario="tokens", deployment=DeploymentFacts(name="x")), Checker)
    assert verdict.validity == "unknown"
    assert "the checker crashed: Theirs at test_redaction.py:" in verdict.reason
    assert SECRET not in verdict.reason
