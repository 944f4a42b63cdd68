"""Settings: what a worker is told, and what it is told when that is wrong."""

import re
from pathlib import Path

import pytest

from lab.settings import BadSettings, Settings, is_local, read_settings

INTERFACES = Path(__file__).parents[2] / "docs" / "interfaces.md"


@pytest.mark.parametrize(
    ("name", "value", "field", "meaning"),
    [
        ("LAB_STATE", "sqlite:////tmp/lab.db", "state", "sqlite:////tmp/lab.db"),
        ("LAB_TOKEN_TTLS", "a.b=3, c=40", "token_ttls", {"a.b": 3, "c": 40}),
        ("LAB_RATE_LIMITS", "READ=5/0.5,WRITE=2/60", "rate_limits", {"READ": (5, 0.5), "WRITE": (2, 60.0)}),
        ("LAB_BUDGET_TOTAL", "1000", "budget_total", 1000),
        ("LAB_ALLOW_REMOTE", "1", "allow_remote", True),
        ("LAB_PRELOAD", "0", "preload", False),
        ("LAB_BIND", "[::1]:8000", "bind", "[::1]:8000"),
        ("LAB_BIND", "unix:/run/lab.sock", "bind", "unix:/run/lab.sock"),
        ("LAB_BIND", "127.0.0.1:1,fd://3", "bind", "127.0.0.1:1,fd://3"),
        ("LAB_KERNEL", "a.b:c", "kernel", "a.b:c"),
    ],
)
def test_a_variable_becomes_a_field(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str, meaning: object
) -> None:
    monkeypatch.setenv("WEAVER_KERNEL_SECRET", "s")
    monkeypatch.setenv(name, value)
    assert getattr(read_settings(), field) == meaning


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LAB_WORKERS", "none"),
        ("LAB_WORKERS", "0"),
        ("LAB_SECRET_MODE", "prod"),
        ("LAB_STATE", "mysql://x"),
        ("LAB_STATE_LIMITER", "redis"),
        ("LAB_KERNEL", "no factory"),
        ("LAB_TOKEN_TTL_S", "-1"),
        ("LAB_TOKEN_TTLS", "a"),
        ("LAB_TOKEN_TTLS", "a=0"),
        ("LAB_RATE_LIMITS", "READ=60"),
        ("LAB_RATE_LIMITS", "READ=0/60"),
        ("LAB_RATE_LIMITS", "READ=1/0"),
        ("LAB_RATE_LIMITS", "READ=1/inf"),
        ("LAB_RATE_LIMITS", "SLEEP=1/1"),
        ("LAB_HANDLE_CAP", "many"),
        ("LAB_BUDGET_TOTAL", "0"),
        ("LAB_REPLICA", "a/b"),
        ("LAB_BIND", "8000"),
        ("LAB_BIND", "unix:"),
        ("LAB_PRELOAD", "perhaps"),
        ("LAB_LOG_LEVEL", "loud"),
        ("LAB_CONTROL_SOCKET", "/run/" + "x" * 103),
        ("LAB_SIDECAR_SOCKET", "/run/" + "ä" * 60),
        ("LAB_REMOTE_KERNEL", "kernel"),
        ("LAB_REMOTE_KERNEL", "kernel:http"),
        ("LAB_REMOTE_KERNEL", "http://kernel:80"),
        ("LAB_REMOTE_KERNEL", "kernel:65536"),
    ],
)
def test_a_bad_value_is_one_line_with_the_variable_the_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("WEAVER_KERNEL_SECRET", "s")
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings) as refused:
        read_settings()
    line = str(refused.value)
    assert line.startswith(name)
    assert value in line
    assert re.search("must be|one of", line)
    assert "\n" not in line


def test_every_bad_variable_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_WORKERS", "a")
    monkeypatch.setenv("LAB_PRELOAD", "b")
    with pytest.raises(BadSettings, match=r"^LAB_WORKERS='a'.*; LAB_PRELOAD='b'"):
        read_settings()


def test_an_empty_variable_counts_as_unset_and_an_unknown_one_is_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WEAVER_KERNEL_SECRET", "s")
    monkeypatch.setenv("LAB_WORKERS", "")
    monkeypatch.setenv("LAB_SOMETHING", "else")
    assert read_settings() == Settings(secret="s")


@pytest.mark.parametrize("secret", [None, ""])
def test_a_missing_secret_is_refused_unless_development_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, secret: str | None
) -> None:
    if secret is not None:
        monkeypatch.setenv("WEAVER_KERNEL_SECRET", secret)
    with pytest.raises(BadSettings, match=r"^WEAVER_KERNEL_SECRET is unset"):
        read_settings()
    monkeypatch.setenv("LAB_SECRET_MODE", "development")
    assert read_settings().secret is None


def test_the_secret_is_never_shown() -> None:
    assert "hush" not in repr(Settings(secret="hush"))


@pytest.mark.parametrize("bind", ["0.0.0.0:80", ":80", "[::]:80", "10.0.0.1:80", "example.org:80"])
def test_listening_beyond_loopback_is_refused_unless_it_is_allowed(
    monkeypatch: pytest.MonkeyPatch, bind: str
) -> None:
    monkeypatch.setenv("WEAVER_KERNEL_SECRET", "s")
    monkeypatch.setenv("LAB_BIND", f"127.0.0.1:1,{bind}")
    with pytest.raises(BadSettings, match=r"LAB_BIND=.*authenticates nobody"):
        read_settings()
    monkeypatch.setenv("LAB_ALLOW_REMOTE", "1")
    assert not is_local(read_settings().bind)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings(secret="s").workers = 2  # type: ignore[misc]


def test_a_kind_of_state_can_live_elsewhere() -> None:
    settings = Settings(secret="s", state_limiter="redis://127.0.0.1:1")
    assert settings.state_overrides == {"limiter": "redis://127.0.0.1:1"}


def test_every_variable_is_documented() -> None:
    documented = set()
    for line in INTERFACES.read_text("utf-8").splitlines():
        if line.startswith("| `"):
            names = re.findall(r"`(\w+)`", line.split("|")[1])
            documented |= {f"LAB_STATE{name}" if name.startswith("_") else name for name in names}
    variables = {f"LAB_{field.upper()}" for field in Settings.model_fields if field != "secret"}
    assert variables <= documented


def test_a_worker_forwards_to_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_SIDECAR", "1")
    monkeypatch.setenv("LAB_REMOTE_KERNEL", "[::1]:8000")
    with pytest.raises(BadSettings, match=r"a worker forwards to one kernel; unset one of the two$"):
        read_settings(secret="s")
