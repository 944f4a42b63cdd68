"""The capabilities of the lab's kernel: a small billing and customer service over fixed data.

The data are made by a rule and never change, so every worker of every deployment gives the same answers. If two
workers differ, the cause is the kernel's own state. An update or a deletion therefore answers as if it had changed
the data, and stores nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
from weaver_kernel import Capability, InMemoryDriver, RawResult, SafetyClass, SensitivityTag
from weaver_kernel.drivers.base import ExecutionContext

Row = dict[str, Any]

STREAM_CHUNKS = 20
_STATES = ("paid", "open", "overdue")
_CURRENCIES = ("EUR", "USD", "GBP")
_COUNTRIES = ("AT", "DE", "FR", "IT", "PT")

CUSTOMERS: tuple[Row, ...] = tuple(
    {
        "id": f"C{number:03d}",
        "name": f"Customer {number}",
        "email": f"customer{number}@example.com",
        "phone": f"+1-555-{1000 + number}",
        "country": _COUNTRIES[number % len(_COUNTRIES)],
        "since": 2000 + number % 25,
    }
    for number in range(1, 51)
)
INVOICES: tuple[Row, ...] = tuple(
    {
        "id": f"INV-{number:04d}",
        "customer": f"C{1 + number % 50:03d}",
        "email": f"customer{1 + number % 50}@example.com",
        "amount": round(10 + (number * 37.31) % 4990, 2),
        "currency": _CURRENCIES[number % len(_CURRENCIES)],
        "status": _STATES[number % len(_STATES)],
    }
    for number in range(1, 201)
)
_BY_ID: Mapping[str, Row] = {row["id"]: row for row in INVOICES}

CAPABILITIES: tuple[Capability, ...] = (
    Capability(
        "billing.list_invoices", "List invoices", "Every invoice; rows=n for the first n.", SafetyClass.READ
    ),
    Capability("billing.peek_invoice", "Peek at an invoice", "One invoice, cheaply.", SafetyClass.READ),
    Capability("billing.get_invoice", "Get an invoice", "One invoice by its id.", SafetyClass.READ),
    Capability("billing.update_invoice", "Update an invoice", "Set an invoice's status.", SafetyClass.WRITE),
    Capability("billing.delete_invoice", "Delete an invoice", "Remove one invoice.", SafetyClass.DESTRUCTIVE),
    Capability(
        "crm.list_customers",
        "List customers",
        "Every customer.",
        SafetyClass.READ,
        sensitivity=SensitivityTag.PII,
        allowed_fields=["id", "name", "country"],
    ),
    Capability("billing.export_invoices", "Export invoices", "Every invoice, in chunks.", SafetyClass.READ),
)


def _list_invoices(ctx: ExecutionContext) -> list[Row]:
    rows = ctx.args.get("rows", len(INVOICES))
    if type(rows) is not int or not 1 <= rows <= len(INVOICES):
        raise ValueError(f"rows={rows!r}: must be a whole number from 1 to {len(INVOICES)}")
    return list(INVOICES[:rows])


def _invoice(ctx: ExecutionContext) -> Row:
    invoice_id = ctx.args.get("id", "INV-0001")
    if not isinstance(invoice_id, str) or invoice_id not in _BY_ID:
        raise ValueError(f"id={invoice_id!r}: must be INV-0001 to INV-{len(INVOICES):04d}")
    return _BY_ID[invoice_id]


def _update_invoice(ctx: ExecutionContext) -> Row:
    status = ctx.args.get("status", "paid")
    if status not in _STATES:
        raise ValueError(f"status={status!r}: must be {', '.join(_STATES)}")
    return {**_invoice(ctx), "status": status}


def _delete_invoice(ctx: ExecutionContext) -> Row:
    return {**_invoice(ctx), "status": "deleted"}


HANDLERS: Mapping[str, Callable[[ExecutionContext], Any]] = {
    "billing.list_invoices": _list_invoices,
    "billing.peek_invoice": _invoice,
    "billing.get_invoice": _invoice,
    "billing.update_invoice": _update_invoice,
    "billing.delete_invoice": _delete_invoice,
    "crm.list_customers": lambda _ctx: list(CUSTOMERS),
    "billing.export_invoices": lambda _ctx: list(INVOICES),
}


class ExecutionLog:
    """A file with one line for each execution that a driver began, whatever reply the client received.

    Each line is one ``write`` to a file that is opened for appending. So the lines of several processes do not mix, and
    the line of a process that is killed afterwards is in the file.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def note(self, ctx: ExecutionContext) -> None:
        """Write that an execution for this principal begins."""
        line = {"principal": ctx.principal_id, "capability": ctx.capability_id, "action": ctx.action_id}
        os.write(self._file, msgspec.json.encode(line) + b"\n")


class PinnedDriver(InMemoryDriver):
    """Upstream's in-memory driver, which here runs only the capability that was authorised.

    Upstream's driver prefers ``args["operation"]`` to the capability. So a caller with a token for one capability could
    run the handler of another. This driver ignores the arguments and takes the capability of the token.
    """

    def __init__(self, driver_id: str = "memory", *, log: ExecutionLog | None = None) -> None:
        super().__init__(driver_id)
        self._log = log
        for capability_id, handler in HANDLERS.items():
            self.register_handler(capability_id, handler)

    async def execute(self, ctx: ExecutionContext) -> RawResult:
        """Run the handler of ``ctx.capability_id``, whatever the arguments say.

        Raises:
            DriverError: The handler refused its arguments.
        """
        self._note(ctx)
        return await super().execute(replace(ctx, args={**ctx.args, "operation": ctx.capability_id}))

    def _note(self, ctx: ExecutionContext) -> None:
        if self._log is not None:
            self._log.note(ctx)


class StreamDriver(PinnedDriver):
    """A driver that streams every invoice in `STREAM_CHUNKS` chunks, `chunk_ms` apart.

    An invoke that is not streamed gets all chunks at once.
    """

    def __init__(self, chunk_ms: int, *, log: ExecutionLog | None = None) -> None:
        super().__init__("stream", log=log)
        self._chunk_s = chunk_ms / 1000

    async def execute_stream(self, ctx: ExecutionContext) -> AsyncIterator[Row]:
        """Yield the chunks. The last chunk has upstream's ``__is_final__``."""
        self._note(ctx)
        size = len(INVOICES) // STREAM_CHUNKS
        for chunk in range(STREAM_CHUNKS):
            if chunk:
                await asyncio.sleep(self._chunk_s)
            rows = list(INVOICES[chunk * size : (chunk + 1) * size])
            yield {"chunk": chunk, "invoices": rows, "__is_final__": chunk == STREAM_CHUNKS - 1}


class ImportedDriver:
    """A driver that runs imported capabilities in this process.

    The lab asks only which workers know an import, and this needs no remote kernel.
    """

    driver_id = "imported"

    async def execute(self, ctx: ExecutionContext) -> RawResult:
        """Return one row, which repeats the request."""
        return RawResult(ctx.capability_id, [{"capability": ctx.capability_id, "answered": True}])
