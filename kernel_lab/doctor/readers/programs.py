"""The programs that the doctor knows: servers and how each is told its number of workers, wrappers, and others.

`workers` reads the command line of one server by these tables, and `servers` finds the server in a command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from kernel_lab.doctor.facts import Role

SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"})


NO_SERVER: Final = frozenset(
    {
        "pip",
        "pip3",
        "apt",
        "apt-get",
        "apk",
        "echo",
        "printf",
        "which",
        "type",
        "kill",
        "pkill",
        "killall",
        "pgrep",
        "ps",
        "grep",
        "cat",
        "rm",
        "cp",
        "mv",
        "mkdir",
        "chown",
        "chmod",
        "ln",
        "test",
        "[",
        "cd",
        "source",
        ".",
        "wait",
        "curl",
        "wget",
        "git",
        "systemctl",
        "service",
        "supervisorctl",
        "docker",
        "docker-compose",
        "kubectl",
        "helm",
        "sed",
        "awk",
        "touch",
        "tee",
        "read",
        "npm",
        "node",
        "yarn",
        "pnpm",
        "java",
        "ruby",
        "go",
        "psql",
        "pg_isready",
        "nc",
        "alembic",
        "pytest",
        "until",
        "sysctl",
        "useradd",
        "groupadd",
        "adduser",
        "addgroup",
        "mypy",
        "ruff",
        "black",
    }
)


WRAPPERS: Final = frozenset(
    {
        "exec",
        "env",
        "nohup",
        "tini",
        "dumb-init",
        "gosu",
        "su-exec",
        "sudo",
        "nice",
        "ionice",
        "chpst",
        "setuidgid",
        "s6-setuidgid",
        "time",
        "timeout",
        "stdbuf",
        "catatonit",
        "--",
        "poetry",
        "pipenv",
        "pdm",
        "uv",
        "hatch",
        "rye",
        "pixi",
        "conda",
        "mamba",
        "micromamba",
        "newrelic-admin",
        "ddtrace-run",
        "opentelemetry-instrument",
        "doppler",
        "chamber",
        "with-contenv",
        "run",
        "run-program",
        "dockerize",
        "flock",
        "catchsegv",
        "xvfb-run",
        "aws-vault",
        "infisical",
        "op",
        "sops",
    }
)


@dataclass(frozen=True, slots=True)
class Program:
    """The options and variables that give one server its number of workers."""

    workers: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    """Environment variables that give the default, first wins."""
    default: int | None = 1
    """None: as many as there are cores."""
    role: Role = "web"
    options: Mapping[str, str] = field(default_factory=dict)
    """Other options by flag, and the setting that they give."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """Options without a value."""


GUNICORN: Final = Program(
    workers=("-w", "--workers"),
    options={
        "--threads": "threads",
        "-k": "worker_class",
        "--worker-class": "worker_class",
        "--max-requests": "max_requests",
        "--max-requests-jitter": "max_requests_jitter",
        "-c": "config",
        "--config": "config",
        "-e": "raw_env",
        "--env": "raw_env",
        "-b": "bind",
        "--bind": "bind",
        "--dirty-workers": "dirty_workers",
    },
    flags={
        "--preload": "preload_app",
        "--reuse-port": "reuse_port",
        "--reload": "reload",
        "--no-reuse-port": "-reuse_port",
    },
)


PROGRAMS: Final[Mapping[str, Program]] = {
    "gunicorn": GUNICORN,
    "gunicorn3": GUNICORN,
    "uvicorn": Program(
        workers=("--workers",),
        variables=("UVICORN_WORKERS", "WEB_CONCURRENCY"),
        options={"--limit-max-requests": "max_requests"},
        flags={"--reload": "reload"},
    ),
    "fastapi": Program(workers=("--workers",), variables=("WEB_CONCURRENCY",), flags={"--reload": "reload"}),
    "hypercorn": Program(
        workers=("-w", "--workers"),
        options={
            "-c": "config",
            "--config": "config",
            "--max-requests": "max_requests",
            "-k": "worker_class",
        },
        flags={"--reload": "reload"},
    ),
    "granian": Program(
        workers=("--workers",),
        variables=("GRANIAN_WORKERS",),
        options={"--workers-lifetime": "lifetime", "--blocking-threads": "threads"},
        flags={"--reload": "reload"},
    ),
    "daphne": Program(),
    "waitress-serve": Program(options={"--threads": "threads"}),
    "flask": Program(),
    "quart": Program(),
    "litestar": Program(
        workers=("-W", "--wc", "--web-concurrency"),
        variables=("WEB_CONCURRENCY",),
        flags={"--reload": "reload"},
    ),
    "sanic": Program(workers=("-w", "--workers"), flags={"--fast": "fast"}),
    "robyn": Program(workers=("--processes", "--workers")),
    "streamlit": Program(),
    "uwsgi": Program(
        workers=("-p", "--processes", "--workers"),
        options={
            "--threads": "threads",
            "--max-requests": "max_requests",
            "--ini": "config",
            "--cheaper": "cheaper",
        },
    ),
    "mod_wsgi-express": Program(
        workers=("--processes",), options={"--threads": "threads", "--maximum-requests": "max_requests"}
    ),
    "celery": Program(
        workers=("-c", "--concurrency"),
        default=None,
        role="task",
        options={
            "--autoscale": "autoscale",
            "-P": "pool",
            "--pool": "pool",
            "--max-tasks-per-child": "max_requests",
        },
        flags={"-B": "beat", "--beat": "beat"},
    ),
    "rq": Program(role="task", workers=("-n", "--num-workers")),
    "rqworker": Program(role="task"),
    "dramatiq": Program(
        role="task",
        workers=("-p", "--processes"),
        default=None,
        options={"-t": "threads", "--threads": "threads"},
    ),
    "arq": Program(role="task"),
    "taskiq": Program(role="task", workers=("-w", "--workers"), default=2),
    "huey_consumer": Program(
        role="task",
        options={"-k": "pool", "--worker-type": "pool", "-w": "huey_workers", "--workers": "huey_workers"},
    ),
    "apscheduler": Program(role="scheduler"),
}


ALIASES: Final = {
    "gunicorn3": "gunicorn",
    "huey_consumer.py": "huey_consumer",
    "uwsgi-core": "uwsgi",
    "arq.cli": "arq",
    "celery.bin.celery": "celery",
}
