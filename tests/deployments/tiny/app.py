"""The smallest app a stack can serve: it names its worker, tells its environment, and can be told to fail."""

import json
import os
import secrets
import signal
import sys
import time

match os.environ.get("TINY_BOOT"):
    case "refuse":
        sys.exit("TINY_BOOT: 'refuse' is no way to boot; leave it unset")
    case "raise":
        raise RuntimeError("this app cannot be imported")
    case "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    case "hang":
        time.sleep(3600)

state = {}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        # not at import: preloaded, that is in the arbiter
        state["worker"] = f"{os.environ['LAB_REPLICA']}/{os.getpid()}/{secrets.token_hex(2)}"
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b""
    while (message := await receive()).get("more_body"):
        body += message["body"]
    body += message["body"]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("LAB_", "WEAVER_", "TINY_", "PYTHONPATH", "GUNICORN_"))
    }
    replies = {
        "/healthz": {"status": "ok"},
        "/environment": environment,
        "/size": {"bytes": len(body)},
        "/peer": scope["client"],
    }
    headers = [(b"x-lab-worker", state["worker"].encode()), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(replies[scope["path"]]).encode()})
