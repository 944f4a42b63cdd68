"""Find out the kind of a configuration file: by its name, then by its content."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Final, Literal

Kind = Literal[
    "gunicorn",
    "python",
    "shell",
    "dockerfile",
    "compose",
    "kubernetes",
    "helm",
    "yaml",
    "unit",
    "procfile",
    "env",
    "nginx",
    "redis",
    "apache",
    "supervisor",
    "uwsgi",
    "hypercorn",
    "conf",
]

_BY_NAME: Final[tuple[tuple[str, Kind], ...]] = (
    (r"(.*[._-])?gunicorn([._-].*)?\.py(\.txt)?$", "gunicorn"),
    (r"(.*[._-])?gunicorn([._-]?conf(ig)?)?\.conf$", "gunicorn"),
    (r"((.*[._-])?dockerfile([._-].*)?|.*\.dockerfile|(.*[._-])?containerfile([._-].*)?)$", "dockerfile"),
    (
        r"((docker-)?compose([._-].*)?|.*[._-]compose|.*docker-compose.*|stack|docker-stack.*)\.ya?ml$",
        "compose",
    ),
    (r"(.*[._-])?values([._-].*)?\.ya?ml$", "helm"),
    (r".*\.k8s\.ya?ml$", "kubernetes"),
    (r".*\.(ya?ml|json)$", "yaml"),
    (r".*\.(service|socket|container|pod|kube)(\.d/.*\.conf)?$", "unit"),
    (r"procfile([._-].*)?$|.*\.procfile$", "procfile"),
    (r"(\.env([._-].*)?|.*\.env|env)$", "env"),
    (r".*(redis|valkey|keydb|sentinel).*\.conf$", "redis"),
    (r"supervisord?.*\.(conf|ini)$|.*\.supervisor\.(conf|ini)$", "supervisor"),
    (r"(.*[._-])?(apache2?|httpd|wsgi|vhost)([._-].*)?\.conf$", "apache"),
    (r".*uwsgi.*\.ini$", "uwsgi"),
    (r".*hypercorn.*\.toml$", "hypercorn"),
    (r".*nginx.*\.(conf|conf\.template|conf\.j2|template)$|nginx\.conf.*$", "nginx"),
    (r".*\.(sh|bash|ksh)$|entrypoint$|docker-entrypoint$|(.*/)?(start|run)$", "shell"),
    (r".*\.py$", "python"),
    (r".*\.(conf|vhost|site|cfg|ini)$", "conf"),
)


def kind_by_name(path: str) -> Kind | None:
    """The kind that the name tells, or None; ``yaml`` and ``conf`` need the content."""
    pure = PurePath(path)
    name = pure.name.lower()
    if pure.parent.name.endswith((".service.d", ".container.d")) and name.endswith(".conf"):
        return "unit"
    if "sites-available" in pure.parts or "sites-enabled" in pure.parts:
        return "conf"
    for pattern, kind in _BY_NAME:
        if re.fullmatch(pattern, name):
            return kind
    return None


def kind_of(path: str, text: str) -> Kind | None:
    """The kind of a file, or None if the doctor does not read such a file."""
    kind = kind_by_name(path)
    if kind is None and text.startswith("#!"):
        first = text.split("\n", 1)[0]
        return (
            "shell" if re.search(r"\b(ba|da|k|z|a)?sh\b", first) else "python" if "python" in first else None
        )
    match kind:
        case "yaml" | "helm" | "kubernetes" | "compose":
            return _yaml(text, kind)
        case "conf" | "apache" | "nginx" | "redis" | None:
            return _conf(text, kind)
        case "python":
            return "gunicorn" if _gunicorn(path, text) else "python"
        case _:
            return kind


def _yaml(text: str, named: Kind) -> Kind | None:
    if re.search(r"^\s*-?\s*[\"']?apiVersion[\"']?\s*:", text, re.MULTILINE) and re.search(
        r"^\s*-?\s*[\"']?kind[\"']?\s*:", text, re.MULTILINE
    ):
        return "kubernetes"
    if re.search(r"^[\"']?services[\"']?\s*:", text, re.MULTILINE) and named != "helm":
        return "compose"
    if text.lstrip().startswith("{") and '"apiVersion"' in text:
        return "kubernetes"
    if named != "yaml":
        return named
    if re.search(r"^(replicaCount|replicas|autoscaling)\s*:", text, re.MULTILINE):
        return "helm"
    return None


def _conf(text: str, named: Kind | None) -> Kind | None:
    if re.search(
        r"^\s*(WSGI\w+|<VirtualHost|LoadModule|ServerRoot|<IfModule|ProxyPass\b|<Proxy)",
        text,
        re.MULTILINE | re.IGNORECASE,
    ):
        return "apache"
    if re.search(r"^\s*(upstream\s+\S+|server|http|events|location\s+.+|stream)\s*\{", text, re.MULTILINE):
        return "nginx"
    if re.search(r"^\s*\[program:", text, re.MULTILINE):
        return "supervisor"
    if re.search(r"^\s*\[uwsgi\]", text, re.MULTILINE):
        return "uwsgi"
    if re.search(r"^\s*\[(Service|Container|Unit)\]", text, re.MULTILINE):
        return "unit"
    if re.search(
        r"^\s*(maxmemory|appendonly|maxmemory-policy|appendfsync|cluster-enabled|save)\s", text, re.MULTILINE
    ):
        return "redis"
    return None if named in {"conf", None} else named


def _gunicorn(path: str, text: str) -> bool:
    name = PurePath(path).name.lower()
    if re.search(
        r"^\s*(from|import)\s+(fastapi|flask|django|starlette|slowapi|uvicorn)\b", text, re.MULTILINE
    ):
        return False
    settings = len(
        re.findall(
            r"^(bind|workers|worker_class|threads|preload_app|max_requests|max_requests_jitter|timeout|keepalive|accesslog|"
            r"errorlog|loglevel|worker_connections|reuse_port|graceful_timeout|worker_tmp_dir|wsgi_app|proc_name)\s*(?::\s*\w+\s*)?=",
            text,
            re.MULTILINE,
        )
    )
    return settings >= (1 if "conf" in name else 2)
