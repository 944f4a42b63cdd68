"""The promises of a deployment: read from a file, completed by what its workers report, and never assumed.

A run judges a deployment by that deployment's own promises: its limits and windows, the lives of its tokens and
handles, its caps, its budget. The workers report the promises that they know (``GET /worker``). A TOML file states
the others. It also says which capability plays which part with which arguments, who calls, and which claims the
operator expects to hold. If a claim needs a promise that is stated in neither place, the claim is not judged, and its
row says why.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from kernel_lab.bad_input import BadInput
from kernel_lab.judge.verdict import Validity

PartName = Literal["read", "list", "write", "stream", "brief", "personal"]
MOST_BYTES = 1 << 20


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `limit` grants in any `window_s` seconds, per principal and capability."""

    limit: int
    window_s: float


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A capability that plays a part in the scenarios, and what an invoke of it needs."""

    capability: str
    args: dict[str, Any] = {}


class Caller(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A caller, as an authenticating proxy would describe it: an agent or an administrator."""

    roles: tuple[str, ...] = ()
    tenant: str | None = None
    headers: dict[str, str] = {}


class InForce(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The promises by which the kernel is judged. The workers report those that are left out here."""

    token_ttl_s: float | None = None
    token_ttls: dict[str, float] | None = None
    """Capability → seconds, where a capability's tokens have a life of their own."""
    handle_ttl_s: float | None = None
    handle_cap: int | None = None
    trace_cap: int | None = None
    budget_total: int | None = None
    max_stale_ms: float | None = None
    """The longest time, in milliseconds, until a worker hears of a revocation, where the deployment states it."""


class Promises(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A promises file; `docs/your-kernel.md` describes it."""

    in_force: InForce = InForce()
    limits: dict[str, Limit] = {}
    """Capability id or safety class → limit."""
    parts: dict[PartName, Part] = {}
    caller: Caller = Caller()
    admin: Caller = Caller()
    expect: dict[str, Literal["valid", "invalid"]] = {}
    """Claim → the verdict that the operator expects."""

    def facts(self, reported: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values in force: those of the file, and where it has none, those that the workers reported."""
        told = {
            name: value for name, value in msgspec.to_builtins(self.in_force).items() if value is not None
        }
        limits = {
            name: {"limit": limit.limit, "window_s": limit.window_s} for name, limit in self.limits.items()
        }
        return {**reported, **told, "rate_limits": {**(reported.get("rate_limits") or {}), **limits}}

    def expected(self, claim: str) -> Validity | None:
        """Return the verdict that the operator expects of a claim; None where the operator expects none."""
        return Validity(self.expect[claim]) if claim in self.expect else None

    @property
    def arguments(self) -> dict[str, dict[str, Any]]:
        """Return the arguments for an invoke of each capability, by the capability's id."""
        return {part.capability: part.args for part in self.parts.values() if part.args}


def read_promises(path: Path) -> Promises:
    """Read a promises file.

    Raises:
        BadInput: It cannot be read, is no TOML, or holds something that a promises file does not.
    """
    try:
        raw = path.read_bytes()[:MOST_BYTES]
        return msgspec.convert(tomllib.loads(raw.decode()), Promises)
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path}: is not UTF-8 at byte {error.start}; a promises file is TOML in UTF-8"
        ) from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise BadInput(
            f"{path}: {' '.join(str(error).split())}; docs/your-kernel.md shows a promises file"
        ) from None
