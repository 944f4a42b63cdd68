import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMMAND = (
    f"{sys.executable} -m gunicorn tiny:app --workers {{workers}} --bind 127.0.0.1:{{port}} "
    "--worker-class gthread --threads 4 --keep-alive 20 --no-control-socket"
)
ALL = """
[caller]
header = "X-User"
[rate_limit]
promise = { limit = 3, window_s = 0.8, tolerance_ms = 2 }
attempt = { request = "GET /quote", refused = { status = 429 } }
[revocation]
login = { request = "POST /login", token = { json = "/token" } }
use = { request = "GET /use/{token}", refused = { status = 401 } }
revoke = { request = "POST /revoke/{token}" }
[handles]
put = { request = "POST /things", id = { json = "/id" } }
get = { request = "GET /things/{id}", refused = { status = 404 } }
[stats]
add = { request = "POST /things" }
read = { request = "GET /count", value = { json = "/count" } }
"""


@pytest.fixture
def app_toml(tmp_path):
    """Writes an app.toml for the tiny service and returns its path."""

    def write(claims=ALL, *, workers="[2]", env="", command=COMMAND, head=""):
        path = tmp_path / "app.toml"
        path.write_text(
            f'name = "tiny"\n{head}\n[start]\ncommand = "{command}"\nworkers = {workers}\n'
            f'cwd = "{HERE}"\nenv = {{ {env} }}\n{claims}'
        )
        return path

    return write
