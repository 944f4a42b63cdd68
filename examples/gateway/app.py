"""A gateway that lets sessions through until an operator suspends them. It keeps the suspended sessions in memory."""

import hashlib
import hmac
import secrets
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException
from worker_header import WorkerASGI

app = FastAPI()
app.add_middleware(WorkerASGI)
KEY = b"one key for all workers"
suspended: set[str] = set()
Session = Annotated[str, Header(alias="X-Session")]


def signed(session: str) -> str:
    """The session with its signature."""
    return f"{session}.{hmac.new(KEY, session.encode(), hashlib.sha256).hexdigest()}"


@app.post("/sessions", status_code=201)
async def begin() -> dict[str, str]:
    """A new session."""
    return {"session": signed(secrets.token_hex(8))}


@app.get("/through")
async def through(session: Session) -> dict[str, bool]:
    """A call through the gateway."""
    if not hmac.compare_digest(session, signed(session.split(".", maxsplit=1)[0])):
        raise HTTPException(401, "no such session")
    if session in suspended:
        raise HTTPException(403, "suspended")
    return {"passed": True}


@app.post("/suspensions", status_code=204)
async def suspend(session: Session) -> None:
    """An operator suspends a session."""
    suspended.add(session)
