"""The lab's HTTP application: it takes a request, makes one kernel call, and sends the reply.

The handlers stand in `lab.routes`. They are async, and between their store steps they await only the
kernel's own call. Where the kernel's stores wait for a server or a file, `lab.routes.route` runs each handler
inside `lab.bridge`, so that the wait does not hold the worker. Handlers must not run in threads, because upstream's
budget belongs to one event loop. The lab authenticates nobody, so it believes the headers that name the principal. A
client names a handle by its id only. The store has the handle's other fields.

A server runs ``lab.app:app``. It opens the kernel when the server starts the worker. Importing this module opens
nothing.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import weaver_kernel
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from weaver_kernel import Kernel

from lab.in_force import WorkerReply, describe
from lab.kernel import KernelView, load_kernel
from lab.problems import REASONS, problem_of, problem_response
from lab.routes import ROUTES
from lab.routes.parts import Served
from lab.state import waits, warnings
from lab.told import told_by
from lab.worker import Worker, WorkerName

# the one logger whose records appear whichever way the worker was started
logger = logging.getLogger("uvicorn.error")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from starlette.types import ASGIApp

    from lab.settings import Settings


async def _problem(_request: Request, error: Exception) -> Response:
    return problem_response(problem_of(error), getattr(error, "headers", None))


def build_api(kernel: Kernel, worker: WorkerReply) -> FastAPI:
    """Return the FastAPI application over `kernel`, in the worker that `worker` describes."""
    handled: dict[int | type[Exception], Any] = dict.fromkeys((HTTPException, Exception, *REASONS), _problem)
    api = FastAPI(
        title="kernel-lab",
        version=weaver_kernel.__version__,
        routes=list(ROUTES),
        exception_handlers=handled,
        # no documentation pages: they would load scripts from elsewhere
        docs_url=None,
        redoc_url=None,
    )
    api.state.served = Served(kernel, KernelView.of(kernel), worker)
    api.state.waits = waits()
    return api


def in_force_of(kernel: Kernel, settings: Settings, worker: WorkerReply) -> WorkerReply:
    """Return the promises in force. The settings state those of the lab's own kernel; any other kernel is asked."""
    if settings.kernel.startswith("lab.") or settings.tell == "settings":
        return worker
    return cast("WorkerReply", {**worker, **told_by(kernel)})


@asynccontextmanager
async def open_api(settings: Settings, name: WorkerName) -> AsyncIterator[ASGIApp]:
    """Open the ASGI application of a worker that has its own kernel.

    Raises:
        BadSettings: ``LAB_KERNEL`` names no factory.
        BadStateURL: The state cannot be opened as asked.
    """
    kernel = load_kernel(settings)
    chained = hasattr(KernelView.of(kernel).traces, "verify_chain")
    worker = describe(settings, name, chained_audit=chained)
    for text in warnings():
        logger.warning(text)
    yield build_api(kernel, in_force_of(kernel, settings, worker))


def open_worker(settings: Settings, name: WorkerName) -> AbstractAsyncContextManager[ASGIApp]:
    """Open the ASGI application of this worker: over its own kernel, or forwarding to a sidecar or a remote kernel."""
    if settings.forwards:
        from lab.sidecar import open_forwarder  # noqa: PLC0415 - a worker with a kernel needs no client

        return open_forwarder(settings, name)
    return open_api(settings, name)


app = Worker(open_worker)
