"""A FastAPI route that the library `limits` limits to five requests in four seconds for each user."""

import os
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import STRATEGIES
from worker_header import WorkerASGI

app = FastAPI()
app.add_middleware(WorkerASGI)
limiter = STRATEGIES[os.environ["STRATEGY"]](storage_from_string(os.environ.get("STORE") or "memory://"))
FIVE = parse("5/4 seconds")


@app.get("/quote")
def quote(user: Annotated[str, Header(alias="X-User")] = "nobody") -> dict[str, str]:
    """What is limited."""
    if not limiter.hit(FIVE, user):
        raise HTTPException(429)
    return {"quote": "Five in four seconds."}
