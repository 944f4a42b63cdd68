"""An app that calls the guard when it is imported, and tells every caller what the guard saw."""

import json
import os
import sys

from kernel_lab.guard import signs_of_many_processes, warn_if_many_processes

AT_IMPORT = [
    sign.why
    for sign in warn_if_many_processes("the counters of this app", refuse=os.environ.get("REFUSE") == "1")
]


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    seen = {
        "at_import": AT_IMPORT, "now": [sign.why for sign in signs_of_many_processes()],
        "lab": sorted(name for name in sys.modules if name.startswith(("kernel_lab", "weaver_kernel"))),
    }  # fmt: skip
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


if __name__ == "__main__":
    import uvicorn

    uvicorn.run("guarded_app:app", port=int(sys.argv[1]), workers=int(sys.argv[2]), log_level="warning")
