"""Ten secrets are planted in whatever a run is given; nothing that the run leaves holds one of them."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kernel_lab.redaction import without_credentials
from lab.state.url import redacted

COMMAND = Path(sys.executable).with_name("kernel-lab")
pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]

PLANTED = (
    "user-of-the-url", "password-of-the-url", "value-of-a-header", "argument-of-the-server", "header-of-the-promises",
    "password-of-the-state", "parameter-of-the-state", "signing-secret", "value-of-the-environment",
    "text-of-an-exception",
)  # fmt: skip
KERNEL = """
import os
from lab.kernel import build_kernel

def factory(settings):
    kernel = build_kernel(settings)
    def grant_capability(*_, **__):
        raise RuntimeError("text-of-an-exception, " + os.environ["DATABASE_URL"])
    kernel.grant_capability = grant_capability
    return kernel
"""
DEPLOYMENTS = """
[mine]
title = "mine"
workers = 1
state = "redis://app:password-of-the-state@127.0.0.1:1/0?password=parameter-of-the-state"
"""
PROMISES = """
[caller]
headers = { X-Api-Key = "header-of-the-promises" }
"""
PART = ("--scenario", "tokens", "--connections", "fresh", "--quick")


def found(folder: Path, said: str = "", *, logs: bool = True) -> set[str]:
    """The planted secrets in a folder's files and in what a command said."""
    texts = [
        path.read_bytes() for path in folder.rglob("*") if path.is_file() and (logs or path.suffix != ".log")
    ]
    assert texts
    return {secret for secret in PLANTED if any(secret.encode() in text for text in (*texts, said.encode()))}


def kernel_lab(folder: Path, *arguments: str) -> str:
    """Run the command with secrets in its environment; what it said."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "DATABASE_URL": "postgres://app:value-of-the-environment@db/prod",
        "WEAVER_KERNEL_SECRET": "signing-secret",
        "GUNICORN_CMD_ARGS": "--env TOKEN=argument-of-the-server",
    }
    done = subprocess.run(
        [COMMAND, "run", *arguments, *PART],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1, 2), done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def running(tmp_path: Path) -> Iterator[str]:
    """The address of a lab that somebody else runs."""
    said = tmp_path / "said"
    with said.open("wb") as file:
        server = subprocess.Popen([COMMAND, "up", "single"], stdout=file)
    while not (address := re.search(r"clients call +http://(\S+)", said.read_text())):
        assert server.poll() is None
        time.sleep(0.05)
    yield address[1]
    server.terminate()
    server.wait(30)


def test_a_run_of_a_kernel_that_tells_secrets_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "telling.py").write_text(KERNEL)
    said = kernel_lab(tmp_path, "--kernel", "telling:factory", "--deployment", "single", "--out", "run")
    # the log is the kernel's own words: its exceptions stand in it, and in no result
    assert found(tmp_path / "run", said, logs=False) == set()


def test_a_run_on_a_state_with_a_password_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(DEPLOYMENTS)
    said = kernel_lab(tmp_path, "--deployments", "mine.toml", "--deployment", "mine", "--out", "run")
    assert found(tmp_path / "run", said) == set()


@pytest.mark.slow
def test_a_run_on_a_service_with_credentials_keeps_them(tmp_path: Path, running: str) -> None:
    (tmp_path / "promises.toml").write_text(PROMISES)
    header = ("--header", "X-Gate: value-of-a-header", "--header=X-Gate-2: value-of-a-header")
    users = f"http://user-of-the-url:password-of-the-url@{running}"
    said = kernel_lab(tmp_path, "--attach", users, *header, "--promises", "promises.toml", "--out", "a")
    assert found(tmp_path / "a", said) == set()
    assert "X-Gate: ***" in (tmp_path / "a" / "environment.json").read_text()


@pytest.mark.parametrize(
    "url",
    [
        "redis://app:hidden@127.0.0.1:6379/0", "redis://:hidden@h", "redis:hidden@h", "redis://h/0?password=hidden",
        "redis://hidden@h", "redis://app:hid@hidden@h/0", "redis://h/0?a=1&TOKEN=hidden&b=2",
        "cached+redis://app:hidden@h/0?max_stale_ms=5",
    ],
)  # fmt: skip
@pytest.mark.parametrize("redact", [redacted, without_credentials])
def test_no_form_of_a_url_shows_its_credentials(url: str, redact: Callable[[str], str]) -> None:
    shown = redact(url)
    assert "hid" not in shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:6379/0?namespace=x", "sqlite:////tmp/lab.db", "memory://"]
)
@pytest.mark.parametrize("redact", [redacted, without_credentials])
def test_a_url_without_credentials_stays_itself(url: str, redact: Callable[[str], str]) -> None:
    assert redact(url) == url
