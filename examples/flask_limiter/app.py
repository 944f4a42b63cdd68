"""A Flask app whose route flask-limiter limits to five requests in four seconds for each user."""

import os

from flask import Flask, request
from flask_limiter import Limiter
from worker_header import WorkerWSGI

app = Flask(__name__)
app.wsgi_app = WorkerWSGI(app.wsgi_app)
limiter = Limiter(
    lambda: request.headers.get("X-User", "nobody"),
    app=app,
    storage_uri=os.environ.get("STORE") or "memory://",
    strategy=os.environ.get("STRATEGY") or "fixed-window",
)


@app.get("/health")
@limiter.exempt
def health() -> str:
    """Not limited."""
    return "up"


@app.get("/quote")
@limiter.limit("5/4 seconds")
def quote() -> str:
    """What is limited."""
    return "Five in four seconds."
