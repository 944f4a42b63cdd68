"""An agent asks a person to approve its tool calls; the requests wait in a dict until they are decided."""

import secrets

from fastapi import FastAPI, HTTPException
from worker_header import WorkerASGI

app = FastAPI()
app.add_middleware(WorkerASGI)
waiting: dict[str, str] = {}


@app.post("/approvals", status_code=201)
async def ask(tool: str = "delete_invoice") -> dict[str, str]:
    """Ask for an approval."""
    number = secrets.token_hex(8)
    waiting[number] = tool
    return {"id": number}


@app.get("/approvals/{number}")
async def look(number: str) -> dict[str, str]:
    """The request that waits under a number."""
    if number not in waiting:
        raise HTTPException(404, "no such approval")
    return {"tool": waiting[number]}


@app.get("/count")
async def count() -> dict[str, int]:
    """The number of approvals that were asked for."""
    return {"count": len(waiting)}
