"""A set of like containers becomes a service: shared by compose, Kubernetes, Helm and quadlets."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from kernel_lab.doctor.facts import Count, Environment, Place, Reading, Role, Server, Service, Store, Value
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.readers import dockerfile, redis
from kernel_lab.doctor.readers.dockerfile import Command, Image
from kernel_lab.doctor.readers.raw import Raw, merge
from kernel_lab.doctor.readers.servers import Recognised
from kernel_lab.doctor.readers.worlds import TooMuch, World, every_world

_INFRASTRUCTURE: Final = re.compile(
    r"(redis|valkey|keydb|dragonfly|postgres(ql)?|pgvector|pgbouncer|postgis|timescaledb|mysql|mariadb|mongo(db)?|nginx(-unprivileged)?|"
    r"traefik|caddy|haproxy|envoy|rabbitmq|kafka|zookeeper|memcached|elasticsearch|opensearch|kibana|logstash|fluentd|fluent-bit|"
    r"grafana|prometheus|loki|tempo|jaeger|minio|vault|consul|etcd|adminer|pgadmin4?|mailhog|mailpit|localstack|busybox|alpine|certbot|"
    r"portainer|watchtower|proxyv2|istio-proxy|datadog-agent|otel-collector|opentelemetry-collector\w*|oauth2-proxy|keycloak|qdrant|"
    r"weaviate|milvus|clickhouse|influxdb|nats|mosquitto|node|openjdk|httpd|git-sync|curl|kubectl|flower|redis-commander|neo4j|couchdb|"
    r"cassandra|scylla|all-in-one|cloud-sql-proxy|gce-proxy|nginx-prometheus-exporter|etcd|mc|zipkin|unleash-server|chrome|playwright)"
    r"(-(server|stack|stack-server|alpine|cluster|sentinel|bundle|exporter|server-ce|oss|contrib))?|[\w-]+-exporter|cloudsql[\w-]*",
    re.IGNORECASE,
)
_REDIS: Final = re.compile(
    r"(redis|valkey|keydb|dragonfly)(-(server|stack|stack-server|cluster|bundle|alpine))?", re.IGNORECASE
)
WORKERS: Final = re.compile(
    r"^(\w*_)?(WEB_CONCURRENCY|((GUNICORN|UVICORN|HYPERCORN|GRANIAN|WEB|HTTP|APP|API|SERVER|UWSGI|ASGI|WSGI|NUM|N|NO_OF|NUMBER_OF|NB)_)*"
    r"(WORKERS?|WORKER_COUNT|WORKER_PROCESSES|NUM_WORKERS|WORKERS_COUNT|WORKERS_NUM|PROCESSES|NUM_PROCESSES|NPROC|PROCS))$",
    re.IGNORECASE,
)
_NOT_WORKERS: Final = re.compile(
    r"CELERY|TASK|QUEUE|CLASS|MAX_WORKERS_PER|BACKGROUND|THREAD|PER_CORE|POOL|DB_|INDEX", re.IGNORECASE
)
_RECYCLE: Final = re.compile(r"^(GUNICORN_|UVICORN_|APP_)?MAX_REQUESTS$", re.IGNORECASE)
_TASK: Final = re.compile(
    r"(^|[_-])(celery|worker|workers|tasks?|queue|rq|dramatiq|consumer|jobs?)($|[_-])", re.IGNORECASE
)
_SCHEDULER: Final = re.compile(r"(^|[_-])(beat|scheduler|cron)($|[_-])", re.IGNORECASE)


def is_infrastructure(image: str) -> bool:
    """Whether an image is a database, a proxy or another program that is not the application."""
    return _INFRASTRUCTURE.fullmatch(_without_tag(image)) is not None


def is_redis(image: str) -> bool:
    """Whether an image is a Redis or one of its kin."""
    return _REDIS.fullmatch(_without_tag(image)) is not None


def _without_tag(image: str) -> str:
    return image.split("@", 1)[0].rpartition("/")[2].split(":", 1)[0]


def role_of(name: str) -> Role:
    """Return the role of a container, guessed from its name where its command is not known."""
    return "scheduler" if _SCHEDULER.search(name) else "task" if _TASK.search(name) else "web"


def workers_variable(environment: Environment) -> tuple[str, Value] | None:
    """The variable that by its name sets the number of server workers, if one does."""
    for name, value in environment.items():
        if (
            WORKERS.match(name)
            and not _NOT_WORKERS.search(name)
            and (value.number is not None or value.text is None)
        ):
            return name, value
    return None


def observe(
    evaluate: Callable[[World], Recognised], environment: Environment, reading: Reading, place: Place
) -> tuple[list[Server], bool]:
    """The servers over all worlds, and whether a program was started that the doctor does not know."""
    opaque = False

    def one(world: World) -> list[Raw]:
        nonlocal opaque
        found = evaluate(world)
        reading.consumed |= found.consumed
        opaque = opaque or bool(found.opaque)
        for store in found.stores:
            redis.from_command(store, reading)
        return found.servers

    try:
        results, notes = every_world(environment, one)
    except (TooMuch, RecursionError):
        reading.trouble(
            place, "Evaluating this takes more steps than a configuration needs, so it was not evaluated."
        )
        return [], True
    return merge(results, notes), opaque


def services(
    *,
    name: str,
    kind: str,
    place: Place,
    image: Image | None,
    image_name: str,
    command: Command | None,
    entrypoint: Command | None,
    environment: Environment,
    files: Files,
    reading: Reading,
    template: Service,
) -> list[Service]:
    """The services of one container: by its command, its image or its environment."""
    if (
        command is None
        and entrypoint is None
        and image is None
        and image_name
        and is_infrastructure(image_name)
    ):
        if is_redis(image_name):
            reading.stores.append(Store(place=place))
        return []
    known = image or Image(place, base=image_name)
    if image is None and is_redis(image_name):
        redis_command = command if command is not None else entrypoint
        if redis_command is not None:
            redis.from_container(redis_command, environment, files, reading)
        return []
    if image is None and is_infrastructure(image_name) and image_name:
        return []
    full = {**known.environment, **environment}
    found, opaque = observe(
        lambda world: dockerfile.start(
            known, world, files, command=command, entrypoint=entrypoint, environment=environment
        ),
        full,
        reading,
        place,
    )
    if not found and opaque:
        found = [opaque_server(name, place, full, image_name)]
    return [replace(template, name=name, kind=kind, place=place, server=server) for server in found]


def opaque_server(name: str, place: Place, environment: Environment, image_name: str) -> Server:
    """A container whose command is not known: its environment may still tell the number of workers."""
    named = workers_variable(environment)
    recycled = [value for key, value in environment.items() if _RECYCLE.match(key)]
    settings = {"max_requests": recycled[-1]} if recycled else {}
    workers: Count | None = None
    where, why = (
        place,
        (
            f"the command of {image_name or 'its image'} decides how many processes each replica runs, and "
            "no file here says it"
        ),
    )
    if named is not None:
        variable, value = named
        where = value.place
        if value.number is not None:
            workers = Count.exactly(max(1, value.number))
        why = f"{variable}={value.text if value.text is not None else '?'}, by its name the number of workers"
    return Server(
        program="unknown",
        place=place,
        role=role_of(name),
        workers=workers,
        workers_place=where,
        workers_why=why,
        settings=settings,
        environment=environment,
    )
