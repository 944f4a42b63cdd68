"""No reproduction is green for ever: with a minimal form of what its follow-up proposes, it turns red.

Each remedy is the smallest patch of the installed package that shows the proposed behaviour, not the change
itself.
"""

import datetime as dt
import importlib.util
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytest
import weaver_kernel
from weaver_kernel import (
    AgentKernelError,
    BudgetManager,
    CapabilityRegistry,
    DefaultPolicyEngine,
    Frame,
    HMACTokenProvider,
    Kernel,
    PolicyDenied,
    TokenRevoked,
)
from weaver_kernel.kernel._audit import record_denial_trace
from weaver_kernel.rate_limit import RateLimiter
from weaver_kernel.stores import (
    InMemoryRevocationStore,
    JsonlTraceStore,
    SQLiteRevocationStore,
    SQLiteTraceStore,
)

FOLLOWUPS = Path(__file__).parents[2] / "docs" / "upstream" / "followups"

Patch = Callable[[Any, str, Any], None]
Remedy = Callable[[Patch], None]
REMEDIES: dict[str, Remedy] = {}


def remedies(number: str) -> Callable[[Remedy], Remedy]:
    def register(remedy: Remedy) -> Remedy:
        REMEDIES[number] = remedy
        return remedy

    return register


@remedies("01")
def one_store_for_all_workers(patch: Patch) -> None:
    shared = InMemoryRevocationStore()
    patch(weaver_kernel.tokens, "InMemoryRevocationStore", lambda: shared)


@remedies("02")
def read_and_write_in_one_transaction(patch: Patch) -> None:
    original = SQLiteRevocationStore.revoke_principal

    def revoke_principal(self: SQLiteRevocationStore, principal_id: str) -> int:
        self._conn.execute("BEGIN IMMEDIATE")
        return original(self, principal_id)

    patch(SQLiteRevocationStore, "revoke_principal", revoke_principal)


@remedies("03")
def roll_back_and_raise_a_typed_error(patch: Patch) -> None:
    original = SQLiteRevocationStore.revoke

    def revoke(self: SQLiteRevocationStore, token_id: str) -> None:
        try:
            original(self, token_id)
        except sqlite3.OperationalError as error:
            self._conn.rollback()
            raise AgentKernelError(f"the revocation was not stored: {error}") from error

    patch(SQLiteRevocationStore, "revoke", revoke)


@remedies("04")
def sweep_with_a_grace(patch: Patch) -> None:
    original = HMACTokenProvider.sweep_revocations

    def sweep(self: HMACTokenProvider, now: dt.datetime) -> int:
        return original(self, now - dt.timedelta(seconds=60))

    patch(HMACTokenProvider, "sweep_revocations", sweep)


@remedies("05")
def a_limiter_that_acquires(patch: Patch) -> None:
    class Engine(DefaultPolicyEngine):
        def __init__(self, *, rate_limiter: Any = None, **rest: Any) -> None:
            super().__init__(**rest)
            self._limiter = rate_limiter or self._limiter

    def acquire(self: RateLimiter, key: str, limit: int, window_seconds: float) -> bool:
        allowed = self.check(key, limit, window_seconds)
        if allowed:
            self.record(key)
        return allowed

    patch(weaver_kernel, "DefaultPolicyEngine", Engine)
    patch(RateLimiter, "acquire", acquire)


@remedies("06")
def count_invokes(patch: Patch) -> None:
    original = Kernel.invoke

    async def invoke(self: Any, token: Any, **rest: Any) -> Any:
        key = f"invoke:{token.principal_id}:{token.capability_id}"
        limit = self._policy._rate_limits[self._registry.get(token.capability_id).safety_class]
        if not self._policy._limiter.check(key, *limit):
            raise PolicyDenied("too many invokes", reason_code="rate_limited")
        self._policy._limiter.record(key)
        return await original(self, token, **rest)

    patch(Kernel, "invoke", invoke)


@remedies("07")
def check_and_record_under_a_lock(patch: Patch) -> None:
    from threading import Lock

    check, record, lock = RateLimiter.check, RateLimiter.record, Lock()

    def locked(original: Any) -> Any:
        def call(*args: Any) -> Any:
            with lock:
                return original(*args)

        return call

    patch(RateLimiter, "check", locked(check))
    patch(RateLimiter, "record", locked(record))


@remedies("08")
def a_protocol_that_says_what_the_kernel_calls(patch: Patch) -> None:
    @runtime_checkable
    class Full(Protocol):
        def store(self, capability_id: str, data: Any) -> Any: ...
        def expand(self, handle: Any, *, query: dict[str, Any]) -> Frame: ...
        def evict_expired(self) -> int: ...

    patch(weaver_kernel.stores, "HandleStoreProtocol", Full)


@remedies("09")
def expand_what_was_stored(patch: Patch) -> None:
    original = Kernel.expand

    def expand(self: Any, handle: Any, **rest: Any) -> Frame:
        return original(self, self._handle_store.get_meta(handle.handle_id), **rest)

    patch(Kernel, "expand", expand)


@remedies("10")
def a_handle_that_knows_its_token(patch: Patch) -> None:
    invoke_before, expand_before = Kernel.invoke, Kernel.expand
    minted_by: dict[str, str] = {}

    async def invoke(self: Any, token: Any, **rest: Any) -> Any:
        frame: Any = await invoke_before(self, token, **rest)
        minted_by[frame.handle.handle_id] = token.token_id
        return frame

    def expand(self: Any, handle: Any, **rest: Any) -> Frame:
        if self._token_provider._revocation.is_revoked(minted_by[handle.handle_id]):
            raise TokenRevoked("the handle's token has been revoked")
        return expand_before(self, handle, **rest)

    patch(Kernel, "invoke", invoke)
    patch(Kernel, "expand", expand)


@remedies("11")
def take_the_write_lock_before_the_head_is_read(patch: Patch) -> None:
    original = SQLiteTraceStore.record

    def record(self: SQLiteTraceStore, trace: Any) -> None:
        self._conn.execute("BEGIN IMMEDIATE")
        original(self, trace)

    patch(SQLiteTraceStore, "record", record)


@remedies("12")
def read_the_head_from_the_file(patch: Patch) -> None:
    original = JsonlTraceStore.record

    def record(self: JsonlTraceStore, trace: Any) -> None:
        for last in self._iter_records():
            self._next_seq, self._last_hash = last.seq + 1, last.record_hash
        original(self, trace)

    patch(JsonlTraceStore, "record", record)


@remedies("13")
def cut_off_what_was_never_a_whole_line(patch: Patch) -> None:
    original = JsonlTraceStore._iter_records

    def iter_records(self: JsonlTraceStore) -> Any:
        if self._path.exists():
            raw = self._path.read_bytes()
            self._path.write_bytes(raw[: raw.rfind(b"\n") + 1])
        return original(self)

    patch(JsonlTraceStore, "_iter_records", iter_records)


@remedies("14")
def one_pool_for_all_workers(patch: Patch) -> None:
    original = BudgetManager.__init__
    pools: dict[int, Any] = {}

    def init(self: Any, total_budget: int, **rest: Any) -> None:
        original(self, total_budget, **rest)
        self._state = pools.setdefault(total_budget, self._state)

    patch(BudgetManager, "__init__", init)


@remedies("15")
def charge_the_stream(patch: Patch) -> None:
    original = Kernel.invoke_stream

    async def invoke_stream(self: Any, token: Any, **rest: Any) -> AsyncIterator[Frame]:
        reserved = await self.budget.allocate()
        used = 0
        async for frame in original(self, token, **rest):
            used += self.budget.count_tokens(frame.facts)
            yield frame
        await self.budget.record_usage(used, reserved=reserved)

    patch(Kernel, "invoke_stream", invoke_stream)


@remedies("17")
def ask_whether_it_is_none(patch: Patch) -> None:
    provider, kernel = HMACTokenProvider.__init__, Kernel.__init__

    def init_provider(self: Any, *args: Any, **rest: Any) -> None:
        provider(self, *args, **rest)
        self._revocation = rest["revocation_store"]

    def init_kernel(self: Any, *args: Any, **rest: Any) -> None:
        kernel(self, *args, **rest)
        self._trace_store, self._handle_store = rest["trace_store"], rest["handle_store"]

    patch(HMACTokenProvider, "__init__", init_provider)
    patch(Kernel, "__init__", init_kernel)


@remedies("18")
def a_kernel_that_revokes(patch: Patch) -> None:
    patch(Kernel, "revoke_token", lambda self, token_id: self._token_provider.revoke(token_id))


@remedies("19")
def not_loaded_until_it_loaded(patch: Patch) -> None:
    original = CapabilityRegistry._maybe_load_namespace

    def load(self: CapabilityRegistry, prefix: str) -> None:
        try:
            original(self, prefix)
        except Exception:
            self._namespaces[prefix].loaded = False
            raise

    patch(CapabilityRegistry, "_maybe_load_namespace", load)


@remedies("20")
def trace_the_refusal(patch: Patch) -> None:
    original = Kernel.invoke

    async def invoke(self: Any, token: Any, *, principal: Any, **rest: Any) -> Any:
        try:
            return await original(self, token, principal=principal, **rest)
        except AgentKernelError as refusal:
            record_denial_trace(
                capability_id=token.capability_id,
                principal_id=principal.principal_id,
                reason_code=type(refusal).__name__,
                message=str(refusal),
                trace_store=self._trace_store,
            )
            raise

    patch(Kernel, "invoke", invoke)


@remedies("21")
def write_ahead_log(patch: Patch) -> None:
    original = SQLiteRevocationStore.__init__

    def init(self: Any, path: Any) -> None:
        original(self, path)
        self._conn.execute("PRAGMA journal_mode = WAL")

    patch(SQLiteRevocationStore, "__init__", init)


@remedies("22")
def a_revocation_that_ends(patch: Patch) -> None:
    original = InMemoryRevocationStore.revoke

    def revoke(self: InMemoryRevocationStore, token_id: str) -> None:
        original(self, token_id)
        longest = dt.datetime.now(tz=dt.UTC) + dt.timedelta(hours=1)
        self._expiry.setdefault(token_id, longest)

    patch(InMemoryRevocationStore, "revoke", revoke)


@remedies("23")
def say_what_was_spent(patch: Patch) -> None:
    original = BudgetManager.record_usage

    async def record_usage(self: BudgetManager, actual: int, *, reserved: int | None = None) -> None:
        used = self._state.used + actual
        await original(self, actual, reserved=reserved)
        self._state.used = used

    patch(BudgetManager, "record_usage", record_usage)


@remedies("24")
def ask_first_whether_a_string_can_match(patch: Patch) -> None:
    redaction = weaver_kernel.firewall.redaction
    original = redaction._redact_string
    suspicious = re.compile(r"[@:]|\d{3}|Bearer|eyJ|sk-|key|token", re.IGNORECASE)

    def redact_string(data: str) -> tuple[str, list[str]]:
        return original(data) if suspicious.search(data) else (data, [])

    patch(redaction, "_redact_string", redact_string)


def reproduction(number: str) -> Any:
    (path,) = FOLLOWUPS.glob(f"{number}_*.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SECRET_MISSING = "16"  # its workers are processes, out of a patch's reach: it has a test of its own


@pytest.mark.parametrize(
    "number", sorted({path.stem[:2] for path in FOLLOWUPS.glob("*.py")} - {SECRET_MISSING})
)
def test_a_reproduction_turns_red_once_upstream_is_mended(
    number: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def patch(target: Any, name: str, value: Any) -> None:
        monkeypatch.setattr(target, name, value, raising=False)

    REMEDIES[number](patch)
    assert reproduction(number).main() == 1
    assert "NO LONGER" in capsys.readouterr().out


def test_the_missing_secret_turns_red_once_a_worker_refuses_to_start_without_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, weaver_kernel\n"
        "if 'WEAVER_KERNEL_SECRET' not in os.environ:\n"
        "    raise SystemExit('WEAVER_KERNEL_SECRET is required')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert reproduction(SECRET_MISSING).main() == 1
