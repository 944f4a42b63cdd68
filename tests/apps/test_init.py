"""kernel-lab init: what it writes can be read; it asks nobody who is not there."""

import pytest

from kernel_lab.apps.adapter import NEEDS
from kernel_lab.apps.mapping import read


@pytest.fixture
def init(command_line):
    return lambda *arguments: command_line("init", *arguments)


@pytest.mark.parametrize("caller", ["header", "cookie", "bearer", "address"])
def test_the_template_is_a_service(tmp_path, init, caller):
    told = [part for claim in NEEDS for part in ("--claim", claim)]
    done = init("--command", 'run "x" {workers} {port}', "--caller", caller, *told)
    assert done.returncode == 0, done.stderr
    service = read(tmp_path / "app.toml")
    assert service.claims() == list(NEEDS)
    assert (tmp_path / "worker_header.py").exists()
    assert init("--command", "run {port}").returncode == 64


def test_an_attached_service(tmp_path, init):
    done = init("--attach", "http://127.0.0.1:1", "--caller", "header", "--claim", "stats", "my.toml")
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "my.toml").file.attach.url == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give --command or --attach"),
        (("--command", "run {port}"), "give --caller"),
        (("--command", "run {port}", "--caller", "shoe"), "one of: header"),
        (("--command", "run {port}", "--caller", "header", "--claim", "speed"), "one of: rate_limit"),
        (("--command", "run", "--caller", "header", "--claim", "stats"), "no {port}"),
        (("--command", "run {port}", "--attach", "http://a"), "exclude each other"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(tmp_path, init, arguments, said):
    done = init(*arguments)
    assert done.returncode == 64
    assert said in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
