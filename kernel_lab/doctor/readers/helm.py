"""Read the values of a Helm chart: replicas, autoscaling, environment and stores."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from kernel_lab.doctor.facts import ONE, Count, Fact, Factor, Place, Reading, Server, Service, Store, Value
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.readers import containers, kubernetes, redis
from kernel_lab.doctor.readers.dockerfile import Command, Image, split
from kernel_lab.doctor.readers.yaml_tree import Node

_REPLICAS: Final = ("replicaCount", "replicas", "replicasCount", "minReplicas")
_OTHERS: Final = re.compile(
    r"^(redis\w*|valkey\w*|postgres\w*|pg\w*|mysql|mariadb|mongo\w*|nginx|ingress\w*|rabbitmq|kafka|memcached|elasticsearch|opensearch|minio|"
    r"prometheus\w*|grafana|global|master|replica|sentinel|metrics|frontend|ui|keycloak|vault|oauth2\w*|traefik|externalDns)$",
    re.IGNORECASE,
)
_WORKERS: Final = re.compile(
    r"^((gunicorn|uvicorn|web|http|app|api|server|num|n)_?)*(workers?|worker_?count|num_?workers|web_?concurrency|processes)$",
    re.IGNORECASE,
)
_SECRET: Final = re.compile(
    r"(secret_?key|signing_?key|jwt_?secret|jwt_?key|session_?secret|token_?secret|app_?secret|secret)(_?name|_?value)?$",
    re.IGNORECASE,
)
_GENERATED: Final = re.compile(r"generat|random", re.IGNORECASE)


def read(
    path: str,
    documents: Sequence[Node],
    texts: Sequence[str],
    files: Files,
    reading: Reading,
    image: Image | None = None,
) -> None:
    """The services that the values mean; `texts` are the lines of the file, for what a comment says."""
    if not documents or documents[0].pairs is None:
        reading.trouble(Place(path), "The values are not a mapping, so they were not read.")
        return
    top = documents[0]
    shared = _environment(top)
    found = 0
    for keys, node in top.walk():
        if node.pairs is None or len(keys) > 4 or any(_OTHERS.match(key) for key in keys):
            continue
        replicas = next(
            (value for key in _REPLICAS[:3] if (value := node.get(key)) is not None and value.text), None
        )
        scaling = node.get("autoscaling") or node.get("hpa") or node.get("horizontalPodAutoscaler")
        if replicas is None and (scaling is None or scaling.pairs is None):
            continue
        if keys and keys[-1].lower() in {
            "autoscaling",
            "hpa",
            "horizontalpodautoscaler",
            "keda",
            "rollingupdate",
        }:
            continue
        found += 1
        _service(
            path,
            ".".join(keys) or "web",
            node,
            replicas,
            scaling,
            {**shared, **_environment(node)},
            files,
            reading,
            image,
        )
    if not found:
        _service(path, "web", top, None, None, shared, files, reading, image)
    _stores(top, reading)
    _secrets(path, top, texts, reading)


def _service(
    path: str,
    name: str,
    node: Node,
    replicas: Node | None,
    scaling: Node | None,
    environment: dict[str, Value],
    files: Files,
    reading: Reading,
    image: Image | None,
) -> None:
    enabled = node.get("enabled")
    if name != "web" and enabled is not None and enabled.boolean is False:
        return
    count, factors = _replicas(path, name, node, replicas, scaling, reading)
    strategy = node.get("strategy") or node.get("updateStrategy") or node.get("deploymentStrategy")
    surge, surge_factor, stated = 0, None, False
    if strategy is not None and strategy.get("rollingUpdate", "maxSurge") is not None:
        wrapped = Node(path, node.line, pairs=[("strategy", strategy, node.line)])
        surge, surge_factor, stated = kubernetes.surge_of("Deployment", wrapped, count, node)
    template = Service(
        name=name,
        kind="Helm values",
        place=node.place,
        server=_nothing(name, node, environment),
        replicas=count,
        replica_factors=factors,
        surge=surge,
        surge_factor=surge_factor,
        surge_stated=stated,
        group=path,
    )
    entrypoint, command = (
        _command(node.get("command"), environment),
        _command(node.get("args") or node.get("extraArgs"), environment),
    )
    if entrypoint is None and command is None and image is None:
        reading.services.append(template)
        return
    made = containers.services(
        name=name,
        kind="Helm values",
        place=node.place,
        image=image,
        image_name=node.text_at("image", "repository") or "",
        command=command,
        entrypoint=entrypoint,
        environment=environment,
        files=files,
        reading=reading,
        template=template,
    )
    reading.services.extend(made or [template])


def _nothing(name: str, node: Node, environment: dict[str, Value]) -> Server:
    """A chart without a command: a key or a variable may tell the workers; otherwise one is counted."""
    place = node.place
    workers, where, why = (
        ONE,
        place,
        (
            "one process in each replica is counted: the values say nothing about workers, and the chart's "
            "command decides"
        ),
    )
    named = containers.workers_variable(environment)
    key = next(
        (
            (each, value)
            for each, value in node.mapping.items()
            if _WORKERS.match(each) and value.text and value.text.isdigit()
        ),
        None,
    )
    if key is None:
        key = next(
            (
                (keys[-1], value)
                for keys, value in node.walk()
                if keys
                and len(keys) < 4
                and _WORKERS.match(keys[-1])
                and value.text
                and value.text.isdigit()
                and not any(_OTHERS.match(k) for k in keys)
                and keys[0] not in {"worker", "celery", "workers"}
            ),
            None,
        )
    if named is not None and named[1].number is not None:
        workers, where, why = (
            Count.exactly(max(1, named[1].number)),
            named[1].place,
            f"{named[0]}={named[1].text}, by its name the number of workers",
        )
    elif key is not None:
        workers, where, why = (
            Count.exactly(max(1, int(key[1].text or 1))),
            key[1].place,
            f"{key[0]}: {key[1].text}, by its name the number of workers",
        )
    return Server(
        program="unknown",
        place=place,
        role=containers.role_of(name),
        workers=workers,
        workers_place=where,
        workers_why=f"{name}: {why}",
        environment=environment,
    )


def _replicas(
    path: str, name: str, node: Node, replicas: Node | None, scaling: Node | None, reading: Reading
) -> tuple[Count, tuple[Factor, ...]]:
    number = kubernetes.whole(replicas)
    if replicas is not None and number is None and replicas.text != "TEMPLATED":
        reading.trouble(replicas.place, f"`{replicas.text}` is not a number of replicas.")
    fixed = Count.exactly(number if number is not None else 1)
    low = kubernetes.whole(scaling.get("minReplicas")) if scaling is not None else None
    high = kubernetes.whole(scaling.get("maxReplicas")) if scaling is not None else None
    if scaling is not None and scaling.pairs is not None:
        enabled = scaling.get("enabled")
        if enabled is None or enabled.boolean is not False:
            count = Count(low if low is not None else 1, high)
            place = (scaling.get("maxReplicas") or scaling).place
            return count, (
                Factor(
                    place=place,
                    count=count,
                    why=f"{name}: autoscaling from {count.min} to "
                    f"{'any number of' if high is None else high} replicas",
                ),
            )
        if high is not None and high > fixed.min:
            reading.facts.append(
                Fact(
                    rule="autoscaling-ready",
                    place=scaling.place,
                    values={"now": str(fixed), "most": high, "name": name},
                    group=path,
                )
            )
    place = replicas.place if replicas is not None else node.place
    why = (
        f"{name}: {fixed} replica{'' if fixed == ONE else 's'}"
        if replicas is not None
        else f"{name}: 1 replica, because the values name no number"
    )
    return fixed, (Factor(place=place, count=fixed, why=why),)


def _environment(node: Node) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for key in ("env", "environment", "extraEnv", "extraEnvVars", "envVars", "config", "configMap", "envs"):
        given = node.get(key)
        if given is None:
            continue
        for name, value in given.mapping.items():
            if value.text is not None:
                found[name] = value.value()
            elif value.pairs is not None and value.text_at("value") is not None:
                found[name] = Value(value.text_at("value"), value.place)
        for item in given.items or ():
            name = item.text_at("name") or ""
            if name:
                found[name] = Value(item.text_at("value"), item.place)
    return found


def _command(node: Node | None, environment: dict[str, Value]) -> Command | None:
    if node is None or (node.items is not None and not node.items):
        return None
    if node.text is not None:
        return Command(node.place, argv=split(node.text))
    return kubernetes.command_of(node, environment)


def _stores(top: Node, reading: Reading) -> None:
    for name in ("redis", "valkey"):
        node = top.get(name)
        if node is None or node.pairs is None:
            continue
        enabled = node.get("enabled")
        if enabled is not None and enabled.boolean is False:
            reading.facts.append(Fact(rule="store-switched-off", place=node.place, values={"name": name}))
            continue
        common = (
            node.text_at("commonConfiguration") or node.text_at("configuration") or node.text_at("configmap")
        )
        options: list[tuple[str, str, Place]] = []
        if common is not None:
            options = redis.lines(node.file, common, reading)
            options = [(key, value, node.place) for key, value, _ in options]
        for key, value in ((node.get("config")) or Node("", 1)).mapping.items():
            options.append((key.lower(), value.text or "", value.place))
        if options:
            reading.stores.append(redis.store(node.place, options))
        else:
            reading.stores.append(Store(place=node.place))


def _secrets(path: str, top: Node, lines: Sequence[str], reading: Reading) -> None:
    for keys, node in top.walk():
        if not keys or node.pairs is not None or node.items is not None or not _SECRET.search(keys[-1]):
            continue
        if keys[-1].lower() in {"existingsecret", "imagepullsecret"} or (node.text or "") != "":
            continue
        comment = lines[node.line - 1].partition("#")[2] if node.line <= len(lines) else ""
        above = (
            lines[node.line - 2] if node.line > 1 and lines[node.line - 2].lstrip().startswith("#") else ""
        )
        if _GENERATED.search(comment + above) or keys[-1].lower().replace("_", "") in {
            "secretkey",
            "secretkeyname",
            "jwtsecret",
            "signingkey",
        }:
            reading.facts.append(
                Fact(rule="generated-key", place=node.place, values={"name": keys[-1]}, group=path)
            )
