"""Read Kubernetes manifests: workloads, autoscalers, services and ingresses."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Final

from kernel_lab.doctor.facts import (
    ONE,
    UNBOUNDED,
    Balancer,
    Count,
    Fact,
    Factor,
    Place,
    Reading,
    Server,
    Service,
    Value,
)
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.readers import containers
from kernel_lab.doctor.readers.dockerfile import Command, Image
from kernel_lab.doctor.readers.yaml_tree import Node

WORKLOADS: Final = frozenset(
    {
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "ReplicaSet",
        "ReplicationController",
        "Pod",
        "Rollout",
        "CronJob",
        "DeploymentConfig",
    }
)
_STICKY: Final = (
    "nginx.ingress.kubernetes.io/affinity",
    "haproxy.org/cookie-persistence",
    "haproxy-ingress.github.io/affinity",
    "traefik.ingress.kubernetes.io/service.sticky.cookie",
    "traefik.ingress.kubernetes.io/affinity",
    "alb.ingress.kubernetes.io/target-group-attributes",
    "appgw.ingress.kubernetes.io/cookie-based-affinity",
)


def objects(documents: Sequence[Node]) -> Iterator[Node]:
    """Every object of the documents; the items of a List are objects of their own."""
    todo = list(documents)
    while todo:
        node = todo.pop(0)
        if (node.text_at("kind") or "").endswith("List") and node.get("items") is not None:
            todo = [*node.list_at("items"), *todo]
        elif node.pairs is not None:
            yield node


def read(
    groups: Mapping[str, Sequence[Node]],
    files: Files,
    reading: Reading,
    image_for: Mapping[str, Image] | None = None,
) -> None:
    """All manifests of one folder together: an autoscaler in one file changes the deployment in another."""
    found = [(path, node) for path, documents in groups.items() for node in objects(documents)]
    config = {
        (node.text_at("kind") or "", node.text_at("metadata", "name") or ""): node
        for _, node in found
        if node.text_at("kind") in {"ConfigMap", "Secret"}
    }
    scalers = _scalers([node for _, node in found])
    group = _group(list(groups))
    for _, node in found:
        kind = node.text_at("kind")
        if kind in WORKLOADS or (
            kind == "Service" and (node.text_at("apiVersion") or "").startswith("serving.knative")
        ):
            _workload(node, config, scalers, files, reading, group, image_for or {})
        elif kind == "Service":
            reading.balancers.append(_balancer(node))
        elif kind == "Ingress":
            reading.balancers.append(_ingress(node))


def _group(paths: Sequence[str]) -> str:
    if len(paths) == 1:
        return paths[0]
    return f"the manifests in {PurePath(paths[0]).parent}"


def _scalers(nodes: Sequence[Node]) -> dict[str, tuple[Count, Place, str]]:
    """Name of a workload -> its range of replicas, and where that stands."""
    found: dict[str, tuple[Count, Place, str]] = {}
    for node in nodes:
        kind = node.text_at("kind")
        if kind == "HorizontalPodAutoscaler":
            low, high = node.get("spec", "minReplicas"), node.get("spec", "maxReplicas")
        elif kind == "ScaledObject":
            low, high = node.get("spec", "minReplicaCount"), node.get("spec", "maxReplicaCount")
        else:
            continue
        name = node.text_at("spec", "scaleTargetRef", "name")
        most = whole(high)
        if kind == "ScaledObject" and high is None:
            most = 100
        least = whole(low)
        if least is None:
            least = 0 if kind == "ScaledObject" else 1
        if name:
            found[name] = (
                Count(least, most),
                (high or node).place,
                (
                    f"{kind} scales from {least} to {most if most is not None else 'an unknown number of'} "
                    "replicas"
                ),
            )
    return found


def whole(node: Node | None) -> int | None:
    """The whole number that a scalar is, or None."""
    try:
        return int(node.text or "") if node is not None else None
    except ValueError:
        return None


def _workload(
    node: Node,
    config: Mapping[tuple[str, str], Node],
    scalers: Mapping[str, tuple[Count, Place, str]],
    files: Files,
    reading: Reading,
    group: str,
    images: Mapping[str, Image],
) -> None:
    kind = node.text_at("kind") or ""
    name = node.text_at("metadata", "name") or node.text_at("metadata", "generateName") or kind.lower()
    spec = node.get("spec")
    if spec is None or spec.pairs is None:
        reading.trouble(node.place, f"The {kind} `{name}` has no `spec`, so it was not read.")
        return
    pod = (
        spec
        if kind == "Pod"
        else spec.get("jobTemplate", "spec", "template", "spec")
        if kind == "CronJob"
        else spec.get("template", "spec")
    )
    if pod is None or not pod.list_at("containers"):
        reading.trouble(node.place, f"The {kind} `{name}` has no containers, so it was not read.")
        return
    replicas, factors = _replicas(kind, name, node, spec, scalers, reading)
    surge, surge_factor, stated = surge_of(kind, spec, replicas, node)
    labels = (spec.get("template", "metadata", "labels") or spec.get("template") or spec).mapping
    if kind == "CronJob" and spec.text_at("concurrencyPolicy") in {None, "Allow"}:
        reading.facts.append(
            Fact(
                rule="cron-overlaps",
                place=(spec.get("concurrencyPolicy") or spec.get("schedule") or node).place,
                values={"name": name},
                group=group,
            )
        )
    template = Service(
        name=name,
        kind=kind,
        place=node.place,
        server=Server(program="unknown", place=node.place, workers_place=node.place, workers_why=""),
        replicas=replicas,
        replica_factors=factors,
        surge=surge,
        surge_factor=surge_factor,
        surge_stated=stated,
        group=group,
        labels={key: value.text or "" for key, value in labels.items()},
    )
    several = len(pod.list_at("containers")) > 1
    for container in pod.list_at("containers"):
        _container(container, name, several, config, files, reading, template, images)


def _container(
    node: Node,
    workload: str,
    several: bool,
    config: Mapping[tuple[str, str], Node],
    files: Files,
    reading: Reading,
    template: Service,
    images: Mapping[str, Image],
) -> None:
    image_name = node.text_at("image") or ""
    own = node.text_at("name") or workload
    environment = _environment(node, config)
    entrypoint = command_of(node.get("command"), environment)
    command = command_of(node.get("args"), environment)
    image = next(iter(images.values())) if len(images) == 1 else images.get(image_name)
    found = containers.services(
        name=f"{workload}/{own}" if several else workload,
        kind=template.kind,
        place=template.place,
        image=image if not containers.is_infrastructure(image_name) else None,
        image_name=image_name,
        command=command,
        entrypoint=entrypoint,
        environment=environment,
        files=files,
        reading=reading,
        template=template,
    )
    for service in found:
        server = service.server
        if template.kind == "CronJob":
            server = replace(server, role="task", workers=server.workers or ONE)
        reading.services.append(replace(service, server=server))


def _replicas(
    kind: str,
    name: str,
    node: Node,
    spec: Node,
    scalers: Mapping[str, tuple[Count, Place, str]],
    reading: Reading,
) -> tuple[Count, tuple[Factor, ...]]:
    if kind == "DaemonSet":
        return UNBOUNDED, (
            Factor(place=node.place, count=UNBOUNDED, why=f"{name}: a DaemonSet runs one pod on each node"),
        )
    if kind == "CronJob":
        most = whole(spec.get("jobTemplate", "spec", "parallelism")) or 1
        count = Count(0, most)
        return count, (
            Factor(
                place=(spec.get("schedule") or node).place,
                count=count,
                why=f"{name}: runs by its schedule, {most} at a time",
            ),
        )
    if kind == "Pod":
        return ONE, ()
    if name in scalers:
        count, place, why = scalers[name]
        return count, (Factor(place=place, count=count, why=f"{name}: {why}"),)
    if kind == "Service":
        return _knative(name, node, spec)
    replicas = spec.get("replicas")
    if replicas is None:
        return ONE, (
            Factor(place=node.place, count=ONE, why=f"{name}: 1 replica, because `replicas` is not set"),
        )
    number = whole(replicas)
    if number is None:
        if replicas.text not in {None, "TEMPLATED"}:
            reading.trouble(
                replicas.place,
                f"The number of replicas of `{name}` is {replicas.text!r}, which is not a whole number.",
            )
        return UNBOUNDED, (
            Factor(
                place=replicas.place, count=None, why=f"{name}: the number of replicas is filled in elsewhere"
            ),
        )
    count = Count.exactly(number)
    return count, (
        Factor(
            place=replicas.place, count=count, why=f"{name}: {number} replica{'' if number == 1 else 's'}"
        ),
    )


def _knative(name: str, node: Node, spec: Node) -> tuple[Count, tuple[Factor, ...]]:
    annotations = spec.get("template", "metadata", "annotations") or spec
    low = next(
        (
            v
            for k in ("autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/minScale")
            if (v := annotations.get(k))
        ),
        None,
    )
    high = next(
        (
            v
            for k in ("autoscaling.knative.dev/max-scale", "autoscaling.knative.dev/maxScale")
            if (v := annotations.get(k))
        ),
        None,
    )
    count = Count(whole(low) or 0, whole(high) or None)
    return count, (
        Factor(
            place=(high or low or node).place, count=count, why=f"{name}: Knative scales {count} replicas"
        ),
    )


def surge_of(kind: str, spec: Node, replicas: Count, node: Node) -> tuple[int, Factor | None, bool]:
    """Return the number of additional replicas during a rollout. The platform's default is 25 %, rounded up."""
    if kind not in {"Deployment", "Rollout", "DaemonSet"}:
        return 0, None, False
    key = "updateStrategy" if kind == "DaemonSet" else "strategy"
    if spec.text_at(key, "type") in {"Recreate", "OnDelete"}:
        return 0, None, False
    given = spec.get(key, "rollingUpdate", "maxSurge") or spec.get("strategy", "canary", "maxSurge")
    if given is None and kind == "DaemonSet":
        return 0, None, False
    text = given.text if given is not None and given.text else "25%"
    base = replicas.max if replicas.max is not None else replicas.min
    if found := re.fullmatch(r"\s*(\d+)\s*%\s*", text):
        number = math.ceil(base * int(found[1]) / 100)
        how = f"{text} of {base}, rounded up"
    else:
        try:
            number, how = int(text), f"maxSurge {text}"
        except ValueError:
            return 0, None, False
    if number == 0:
        return 0, None, given is not None
    source = f"maxSurge: {how}" if given is not None else f"the platform's maxSurge of 25 %: {how}"
    factor = Factor(
        place=(given or spec.get("replicas") or node).place,
        count=Count.exactly(number),
        why=f"during a rollout {number} replica{'' if number == 1 else 's'} more "
        f"run{'s' if number == 1 else ''} ({source})",
    )
    return number, factor, given is not None


def command_of(node: Node | None, environment: Mapping[str, Value]) -> Command | None:
    """A command or its arguments, with ``$(NAME)`` filled in."""
    if node is None:
        return None
    words = [item.text or "" for item in node.items] if node.items is not None else [node.text or ""]
    return Command(node.place, argv=tuple(_filled(word, environment) for word in words))


def _filled(text: str, environment: Mapping[str, Value]) -> str:
    """``$(NAME)`` as Kubernetes fills it in; an unknown name stays as it is."""

    def one(found: re.Match[str]) -> str:
        value = environment.get(found[1])
        return value.text if value is not None and value.text is not None else found[0]

    return re.sub(r"\$\(([A-Za-z_]\w*)\)", one, text)


def _environment(container: Node, config: Mapping[tuple[str, str], Node]) -> dict[str, Value]:
    environment: dict[str, Value] = {}
    for source in container.list_at("envFrom"):
        for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            reference = source.get(key)
            if reference is None:
                continue
            node = config.get((kind, reference.text_at("name") or ""))
            prefix = source.text_at("prefix") or ""
            for data in ("data", "stringData"):
                for name, value in ((node.get(data) if node else None) or Node("", 1)).mapping.items():
                    secret = kind == "Secret" and data == "data"
                    environment[prefix + name] = Value(None if secret else value.text, value.place)
    for item in container.list_at("env"):
        name = item.text_at("name") or ""
        if not name:
            continue
        if (given := item.get("value")) is not None:
            environment[name] = Value(_filled(given.text or "", environment), given.place)
            continue
        for kind, key in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
            reference = item.get("valueFrom", key)
            if reference is None:
                continue
            node = config.get((kind, reference.text_at("name") or ""))
            wanted = reference.text_at("key") or ""
            found = (
                (node.get("data", wanted) if kind == "ConfigMap" else node.get("stringData", wanted))
                if node
                else None
            )
            optional = reference.get("optional")
            environment[name] = Value(
                found.text if found is not None else None,
                found.place if found is not None else reference.place,
                optional=optional is not None and optional.boolean is True,
            )
    return environment


def _balancer(node: Node) -> Balancer:
    affinity = node.get("spec", "sessionAffinity")
    by_address = affinity is not None and affinity.text == "ClientIP"
    selector = {
        key: value.text or "" for key, value in (node.get("spec", "selector") or Node("", 1)).mapping.items()
    }
    return Balancer(
        place=node.place,
        name=node.text_at("metadata", "name") or "service",
        affinity="address" if by_address else "none",
        affinity_place=affinity.place if affinity is not None else None,
        kind="Service",
        selector=selector,
    )


def _ingress(node: Node) -> Balancer:
    annotations = (node.get("metadata", "annotations") or Node("", 1)).mapping
    for name in _STICKY:
        value = annotations.get(name)
        if value is not None and (value.text or "").lower() not in {"", "false", "none"}:
            if name.startswith("alb.") and "stickiness.enabled=true" not in (value.text or ""):
                continue
            return Balancer(
                place=node.place,
                name=node.text_at("metadata", "name") or "ingress",
                affinity="cookie",
                affinity_place=value.place,
                kind="Ingress",
            )
    hashed = annotations.get("nginx.ingress.kubernetes.io/upstream-hash-by")
    if hashed is not None:
        key = hashed.text or ""
        by_address = "addr" in key
        return Balancer(
            place=node.place,
            name=node.text_at("metadata", "name") or "ingress",
            affinity="address" if by_address else "key",
            affinity_place=hashed.place,
            key=key,
            consistent=True,
            kind="Ingress",
            knows_client=True,
        )
    return Balancer(place=node.place, name=node.text_at("metadata", "name") or "ingress", kind="Ingress")
