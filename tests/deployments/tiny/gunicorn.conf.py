"""As lab/gunicorn.conf.py, as far as a stack reads it."""

import os

bind = os.environ["LAB_BIND"]
workers = int(os.environ["LAB_WORKERS"])
control_socket = os.environ["LAB_CONTROL_SOCKET"]
worker_class = "uvicorn_worker.UvicornWorker"
loglevel = os.environ.get("LAB_LOG_LEVEL") or "warning"
preload_app = os.environ.get("LAB_PRELOAD") == "1"
reuse_port = os.environ.get("LAB_REUSE_PORT") == "1"
keepalive = 75
