"""A Flask app with tokens of flask-jwt-extended and a deny list: in a set, or on Redis."""

import os

from flask import Flask, jsonify
from flask.wrappers import Response
from flask_jwt_extended import JWTManager, create_access_token, get_jwt, jwt_required
from redis import Redis
from worker_header import WorkerWSGI

app = Flask(__name__)
app.wsgi_app = WorkerWSGI(app.wsgi_app)
app.config["JWT_SECRET_KEY"] = "one secret for all workers, of 32 bytes or more"  # noqa: S105
manager = JWTManager(app)
shared = Redis.from_url(os.environ["STORE"]) if os.environ.get("STORE") else None
denied: set[str] = set()


@manager.token_in_blocklist_loader
def is_denied(header: dict[str, str], payload: dict[str, str]) -> bool:  # noqa: ARG001
    """Whether a token was revoked, as far as this worker knows."""
    return payload["jti"] in denied if shared is None else bool(shared.exists(payload["jti"]))


@app.get("/health")
def health() -> str:
    """Up."""
    return "up"


@app.post("/login")
def login() -> Response:
    """A token."""
    return jsonify(token=create_access_token("somebody"))


@app.get("/me")
@jwt_required()
def me() -> str:
    """A route that needs a token."""
    return "somebody"


@app.post("/logout")
@jwt_required()
def logout() -> str:
    """Revoke the token."""
    token = get_jwt()["jti"]
    if shared is None:
        denied.add(token)
    else:
        shared.set(token, 1, ex=3600)
    return "bye"
