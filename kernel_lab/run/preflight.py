"""Preflight: try an operator's kernel before any deployment of it starts.

The kernel is built once, and each part is granted and invoked once, in a process of its own (``lab/preflight.py``).
A factory that returns no kernel ends the run with one sentence. For a part that does not work, the output says what
would help.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from kernel_lab.bad_input import BadInput
from kernel_lab.run import registry
from kernel_lab.run.promises import Promises

WITHIN_S = 60.0
"""The most seconds that building a kernel and trying it may take."""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """The result of trying one part."""

    capability: str
    args: dict[str, Any] = {}
    grant: str = ""
    """The result of the grant: ``ok``, or the reason code of the refusal."""
    invoke: str = ""
    """The result of the invoke: ``ok``, the reason code of the refusal, or empty if there was no token to present."""
    detail: str = ""

    @property
    def works(self) -> bool:
        """Whether the part was granted and invoked."""
        return self.grant == "ok" and self.invoke == "ok"


class Preflight(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that are known of a kernel before it is deployed."""

    in_force: dict[str, Any] = {}
    capabilities: list[dict[str, Any]] = []
    parts: dict[str, Tried] = {}
    error: str = ""

    def lines(self) -> list[str]:
        """A short table: the values in force, and the capability that plays each part of the tests."""
        told = [f"kernel: weaver-kernel {self.in_force.get('kernel_version')}"]
        limits = self.in_force.get("rate_limits") or {}
        told += [
            f"  limit on {name}: {limit['limit']} in {limit['window_s']:g} s"
            for name, limit in limits.items()
            if limit
        ]
        told += [
            f"  {name}: {'not told' if self.in_force.get(name) is None else self.in_force[name]}"
            for name in ("token_ttl_s", "handle_ttl_s", "handle_cap", "trace_cap", "budget_total")
        ]
        if not self.capabilities:
            told.append("  it has no capability, so no claim can be tested")
        return told + [f"  {name:8} {self._said(name, tried)}" for name, tried in self.parts.items()]

    def _said(self, part: str, tried: Tried) -> str:
        if tried.works:
            return f"{tried.capability}: granted and invoked"
        help_ = self._help(part, tried)
        if tried.grant != "ok":
            return f"{tried.capability}: not granted ({tried.grant or 'no answer'}: {tried.detail}){help_}"
        end = f"({tried.invoke or 'no answer'}: {tried.detail})"
        return f"{tried.capability}: granted, and the invoke failed {end}{help_}"

    @staticmethod
    def _help(part: str, tried: Tried) -> str:
        if tried.invoke == "driver_failed" and not tried.args:
            return f"; if the driver needs arguments, give parts.{part}.args in a promises file"
        if tried.grant not in ("ok", "", "rate_limited", "capability_not_found"):
            return "; if a role is missing, give caller.roles in a promises file"
        return ""


def preflight(kernel: str, promises: Promises, env: Mapping[str, str]) -> Preflight:
    """Build a kernel once and try its parts.

    Args:
        kernel: ``module:factory``.
        promises: The capability for each part, and the principals that call.
        env: Settings of the workers.

    Raises:
        BadInput: The factory gives no kernel. The message is one sentence that says why.
    """
    if ":" not in kernel:
        raise BadInput(f"--kernel {kernel}: should be module:factory, such as my_service.kernel:build")
    caller = msgspec.to_builtins(promises.caller)
    asked = {"parts": msgspec.to_builtins(promises.parts), **caller}
    folder = str(registry.root())
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), os.getcwd(), folder)))  # noqa: PTH109
    secret = {"WEAVER_KERNEL_SECRET": secrets.token_hex(32)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "lab.preflight"],
            input=json.dumps(asked),
            env={
                **secret,
                **os.environ,
                **env,
                "LAB_KERNEL": kernel,
                "LAB_STATE": env.get("LAB_STATE", "memory://"),
                "PYTHONPATH": path,
            },
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BadInput(f"--kernel {kernel}: was not built and tried within {WITHIN_S:g} s") from None
    try:
        found = msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=Preflight)
    except (IndexError, msgspec.MsgspecError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise BadInput(
            f"--kernel {kernel}: its process ended with exit code {done.returncode}: {last}"
        ) from None
    if found.error:
        raise BadInput(f"--kernel {kernel}: {found.error.removeprefix(f'LAB_KERNEL={kernel}: ')}")
    return found
