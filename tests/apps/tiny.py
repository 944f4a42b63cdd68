"""A WSGI service with a limiter, tokens, a store and a counter of its own, all in the memory of one process.

`BREAK` makes it rude: it floods, redirects, answers HTML or errors, or hangs.
"""

import json
import os
import secrets
import threading
import time

from kernel_lab.middleware import WorkerWSGI

LIMIT, WINDOW_S = 3, 0.8
BREAK = os.environ.get("BREAK", "")
lock = threading.Lock()
windows, tokens, revoked, things = {}, set(), set(), {}


def answer(path, method, user):
    if path == "/quote":
        with lock:
            now = time.monotonic()
            log = [t for t in windows.get(user, []) if t > now - WINDOW_S]
            windows[user] = log + [now] * (len(log) < LIMIT)
            return (200 if len(log) < LIMIT else 429), {}
    if path == "/login":
        return 200, {"token": secrets.token_hex(4)}
    if path.startswith("/use/"):
        return (401 if path[5:] in revoked else 200), {}
    if path.startswith("/revoke/"):
        revoked.add(path[8:])
        return 200, {}
    if path == "/things" and method == "POST":
        number = secrets.token_hex(4)
        things[number] = user
        return 201, {"id": number}
    if path.startswith("/things/"):
        return (200 if path[8:] in things else 404), {}
    return 200, {"count": len(things)}


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if BREAK and path != "/":
        return rude(start_response)
    status, body = answer(path, environ["REQUEST_METHOD"], environ.get("HTTP_X_USER", ""))
    start_response(f"{status} Whatever", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]


def rude(start_response):
    if BREAK == "flood":
        start_response("200 OK", [])
        return (b"x" * 65536 for _ in range(10_000))
    if BREAK == "redirect":
        start_response("302 Found", [("Location", "http://192.0.2.1/")])
        return []
    if BREAK == "hang":
        start_response("200 OK", [])
        return (time.sleep(0.3) or b"x" for _ in range(1000))
    start_response("500 Oops" if BREAK == "500" else "200 OK", [("Content-Type", "text/html")])
    return [b"<html>"]


if not os.environ.get("UNNAMED"):
    app = WorkerWSGI(app)
