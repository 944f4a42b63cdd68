"""The settings of a worker, read from its environment: ``LAB_*`` and ``WEAVER_KERNEL_SECRET``.

`read_settings` is called where a bad value can still stop everything: when gunicorn reads its configuration,
before there is a worker, and again in each worker when the server starts it. `Settings` is frozen; a factory
named by ``LAB_KERNEL`` receives the same value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lab.state.url import parse

UNIX_PATH_BYTES = 107
"""The longest path a Unix socket can have on Linux."""


class BadSettings(ValueError):  # noqa: N818 - it names a thing
    """The environment cannot be used: one line with the variable, its value and what is allowed."""


def _pairs(text: Any) -> Any:
    """Return ``"a=1,b=2"`` as ``{"a": "1", "b": "2"}``. A value that is no text is returned as it is."""
    if not isinstance(text, str):
        return text
    pairs = (pair.partition("=") for pair in text.split(","))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _limits(text: Any) -> Any:
    """Return ``"READ=60/60"`` as ``{"READ": ["60", "60"]}``."""
    pairs = _pairs(text)
    return {name: value.split("/") for name, value in pairs.items()} if isinstance(text, str) else pairs


def _state_url(url: str) -> str:
    parse(url)
    return url


def is_local(bind: str) -> bool:
    """Return whether every listener of `bind` is a Unix socket, a file descriptor, or on loopback."""
    return all(_is_local(address.strip()) for address in bind.split(","))


def _is_local(address: str) -> bool:
    if address.startswith(("unix:", "fd://")):
        return True
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _bind(bind: str) -> str:
    for address in bind.split(","):
        if not re.fullmatch(
            r"\s*(unix:.+|fd://\d+|(tcp://)?(\[[0-9a-fA-F:]+\]|[^:/\[\]]*):\d{1,5})\s*", address
        ):
            raise ValueError(address)
    return bind


def _address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not re.fullmatch(r"[\w.-]+|\[[0-9a-fA-F:]+\]", host) or not (
        port.isdecimal() and 0 < int(port) < 65_536
    ):
        raise ValueError(address)
    return address


def _socket_path(path: str) -> str:
    if len(path.encode()) > UNIX_PATH_BYTES:
        raise ValueError(path)
    return path


Positive = Annotated[int, Field(ge=1)]
Limit = tuple[Positive, Annotated[float, Field(gt=0, allow_inf_nan=False)]]
"""``(calls, window_s)``, as upstream's policy takes it."""
ClassName = Literal["READ", "WRITE", "DESTRUCTIVE"]
"""Upstream's safety classes by name. They stand here because the arbiter reads settings and need not import the
kernel."""
StateLocation = Annotated[str, AfterValidator(_state_url)]

_WHOLE = "a whole number, 1 or more"
_COUNT = "a whole number, 0 or more"
_SWITCH = "0 or 1"
_URL = "a state URL"


class Settings(BaseSettings):
    """One worker's settings. A field's description says what is allowed, in the words of an error message."""

    model_config = SettingsConfigDict(
        env_prefix="LAB_", env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

    secret: str | None = Field(
        None, validation_alias="WEAVER_KERNEL_SECRET", repr=False, description="any text"
    )
    secret_mode: Literal["required", "development"] = Field("required", description="required or development")

    state: StateLocation = Field("memory://", description=_URL)
    state_revocations: StateLocation | None = Field(None, description=_URL)
    state_limiter: StateLocation | None = Field(None, description=_URL)
    state_handles: StateLocation | None = Field(None, description=_URL)
    state_traces: StateLocation | None = Field(None, description=_URL)
    state_budget: StateLocation | None = Field(None, description=_URL)
    store_timeout_ms: Positive = Field(250, description=_WHOLE)

    kernel: str = Field(
        "lab.kernel:build_kernel",
        pattern=r"^[\w.]+:\w+$",
        description="module:factory, a dotted name and a function",
    )
    tell: Literal["kernel", "settings"] = Field(
        "kernel",
        description="kernel or settings: what GET /worker says is in force where LAB_KERNEL names another factory",
    )
    token_ttl_s: Positive = Field(3600, description=_WHOLE)
    token_ttls: Annotated[Mapping[str, Positive], NoDecode, BeforeValidator(_pairs)] = Field(
        {}, description="capability=seconds,… with whole seconds, 1 or more"
    )
    rate_limits: Annotated[Mapping[ClassName, Limit], NoDecode, BeforeValidator(_limits)] = Field(
        {},
        description="class=limit/window_s,… of READ, WRITE, DESTRUCTIVE; limit 1 or more, window over 0",
    )
    split_limit: Positive = Field(1, description=_WHOLE)
    handle_ttl_s: Positive = Field(3600, description=_WHOLE)
    handle_cap: Positive = Field(10_000, description=_WHOLE)
    trace_cap: Positive = Field(10_000, description=_WHOLE)
    budget_total: Positive | None = Field(None, description=_WHOLE)
    budget_request: Positive = Field(4_000, description=_WHOLE)
    max_body_bytes: Positive = Field(1_048_576, description=_WHOLE)
    stream_chunk_ms: int = Field(20, ge=0, description=_COUNT)
    execution_log: str | None = Field(None, description="a path")
    """The file in which the drivers write a line before each execution. If it is not set, they write none."""

    replica: str = Field("r0", pattern=r"^[\w.-]+$", description="letters, digits, '.', '_' and '-'")
    workers: Positive = Field(1, description=_WHOLE)
    bind: Annotated[str, AfterValidator(_bind)] = Field(
        "127.0.0.1:8000", description="host:port, unix:PATH or fd://N, several separated by commas"
    )
    allow_remote: bool = Field(False, description=_SWITCH)
    preload: bool = Field(False, description=_SWITCH)
    max_requests: int = Field(0, ge=0, description=_COUNT)
    max_requests_jitter: int = Field(0, ge=0, description=_COUNT)
    reuse_port: bool = Field(False, description=_SWITCH)
    control_socket: Annotated[str, AfterValidator(_socket_path)] | None = Field(
        None, description=f"a path of at most {UNIX_PATH_BYTES} bytes"
    )
    keepalive_s: Positive = Field(75, description=_WHOLE)
    worker_class: str = Field(
        "uvicorn_worker.UvicornWorker", pattern=r"^[\w.]+$", description="a gunicorn worker class"
    )
    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        "warning", description="debug, info, warning, error or critical"
    )
    sidecar: bool = Field(False, description=_SWITCH)
    sidecar_socket: Annotated[str, AfterValidator(_socket_path)] | None = Field(
        None, description=f"a path of at most {UNIX_PATH_BYTES} bytes"
    )

    remote_kernel: Annotated[str, AfterValidator(_address)] | None = Field(None, description="host:port")

    @model_validator(mode="after")
    def _together(self) -> Settings:
        if self.secret is None and self.secret_mode == "required":  # noqa: S105 - a mode
            raise ValueError(
                "WEAVER_KERNEL_SECRET is unset: every worker must sign with the same secret; set it, or "
                "LAB_SECRET_MODE=development for a random one in each process"
            )
        if self.sidecar and self.remote_kernel:
            raise ValueError(
                f"LAB_SIDECAR=1 and LAB_REMOTE_KERNEL={self.remote_kernel!r}: a worker forwards to one kernel; "
                "unset one of the two"
            )
        if not self.allow_remote and not is_local(self.bind):
            raise ValueError(beyond_loopback("LAB_BIND", self.bind))
        return self

    @property
    def forwards(self) -> bool:
        """Whether the workers keep no kernel, and forward every call to a process that has one."""
        return self.sidecar or self.remote_kernel is not None

    @property
    def state_overrides(self) -> dict[str, str]:
        """The URL for each kind of state that is kept elsewhere than at ``LAB_STATE``."""
        kinds = ("revocations", "limiter", "handles", "traces", "budget")
        return {kind: url for kind in kinds if (url := getattr(self, f"state_{kind}"))}


def beyond_loopback(what: str, bind: str) -> str:
    """Return why `bind` is refused: the lab believes every principal that a header names, so only loopback is safe."""
    return (
        f"{what}={bind!r}: must be on loopback, unix:PATH or fd://N, because the lab authenticates nobody; "
        "LAB_ALLOW_REMOTE=1 allows it"
    )


def read_settings(**overrides: Any) -> Settings:
    """Read the settings from this process's environment. `overrides` (by field name) come before the environment.

    Raises:
        BadSettings: The message is one line with each wrong variable, its value and what is allowed.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        clauses = {wrong["loc"][:1]: _clause(wrong, overrides) for wrong in error.errors(include_url=False)}
        raise BadSettings("; ".join(clauses.values())) from None


def _clause(wrong: ErrorDetails, overrides: Mapping[str, Any]) -> str:
    if not wrong["loc"]:  # this error is about the settings together, so its text says everything
        return str(wrong["ctx"]["error"])
    name = str(wrong["loc"][0])
    variable = f"LAB_{name.upper()}"
    allowed = Settings.model_fields[name].description
    if allowed == _URL:
        return f"{variable}: {wrong['ctx']['error']}"
    return f"{variable}={overrides.get(name, os.environ.get(variable))!r}: must be {allowed}"
