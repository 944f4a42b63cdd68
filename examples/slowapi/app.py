"""A FastAPI app whose route slowapi limits to five requests in four seconds for each user."""

import os

from fastapi import FastAPI, Request
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from worker_header import WorkerASGI

limiter = Limiter(
    key_func=lambda request: request.headers.get("X-User", "nobody"),
    storage_uri=os.environ.get("STORE") or "memory://",
    in_memory_fallback_enabled=bool(os.environ.get("FALLBACK")),
)
app = FastAPI()
app.add_middleware(WorkerASGI)
app.state.limiter = limiter
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)


@app.get("/quote")
@limiter.limit("5/4 seconds")
async def quote(request: Request) -> dict[str, str]:  # noqa: ARG001 - slowapi reads it
    """What is limited."""
    return {"quote": "Five in four seconds."}
