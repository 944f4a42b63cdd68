"""What ``docker stack deploy`` takes, from what ``docker compose config --format json`` prints.

    docker compose -f deploy/swarm/compose.yml config --format json | python3 deploy/swarm/render.py

A swarm starts containers on hosts that have no checkout. Each file that compose would mount from the checkout
therefore becomes a swarm config. What only a single engine understands is left out, or put in the swarm's own
words. This script needs the standard library alone: an operator's host may have no environment of ours.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

MTU = "1350"
"""Below 1500 by what VXLAN adds (50 bytes), and by what a tunnel between the hosts may add."""
_NOT_OF_A_SWARM = (
    "build",
    "container_name",
    "depends_on",
    "profiles",
    "pull_policy",
    "restart",
    "security_opt",
)
"""``deploy.restart_policy`` stands for ``restart``. A swarm's compose format has no ``no-new-privileges``.
Every container of ours drops all capabilities and runs as a user other than root."""

Node = dict[str, Any]


def stack(composed: Node) -> Node:
    """The stack, as version 3.13 of the compose format."""
    configs: Node = {}
    return {
        "version": "3.13",
        "services": {name: _service(service, configs) for name, service in composed["services"].items()},
        "networks": {
            name: {
                "driver": "overlay",
                "driver_opts": {"com.docker.network.driver.mtu": MTU},
                "internal": network.get("internal", False),
            }
            for name, network in composed["networks"].items()
        },
        "volumes": {name: {} for name in composed.get("volumes", {})},
        "secrets": {
            name: {"external": True, "name": secret["name"]}
            for name, secret in composed.get("secrets", {}).items()
        },
        "configs": configs,
    }


def _service(service: Node, configs: Node) -> Node:
    kept = {key: value for key, value in service.items() if key not in _NOT_OF_A_SWARM and value is not None}
    # labels of the service: a container's would make its host's engine look like a compose stack
    kept["deploy"] = kept.get("deploy", {}) | {"labels": kept.pop("labels", {})}
    kept["networks"] = list(kept.get("networks", {}))
    kept["volumes"] = [_tmpfs(text) for text in kept.pop("tmpfs", [])]
    kept["configs"] = []
    for volume in service.get("volumes", []):
        if volume["type"] == "bind":
            kept["configs"].append(_config(volume, configs))
        else:
            named = {key: volume[key] for key in ("type", "source", "target")}
            kept["volumes"].append(named | {"read_only": volume.get("read_only", False)})
    if "ports" in kept:
        kept["ports"] = [port | {"published": int(port["published"])} for port in kept["ports"]]
    return {key: value for key, value in kept.items() if value not in ([], {})}


def _tmpfs(text: str) -> Node:
    """``/tmp:size=64m,mode=1777`` as a mount. A swarm's tmpfs has mode 1777 by itself."""
    target, _, options = text.partition(":")
    size = dict(option.partition("=")[::2] for option in options.split(","))["size"]
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    return {"type": "tmpfs", "target": target, "tmpfs": {"size": int(size[:-1]) * units[size[-1]]}}


def _config(volume: Node, configs: Node) -> Node:
    """A file of the checkout as a config; its name has a part of its digest, as configs never change."""
    path = Path(volume["source"])
    digest = sha256(path.read_bytes()).hexdigest()[:12]
    name = f"{path.stem.replace('.', '-')}-{digest}"
    configs[name] = {"file": str(path)}
    return {"source": name, "target": volume["target"], "mode": 0o444}


if __name__ == "__main__":
    json.dump(stack(json.load(sys.stdin)), sys.stdout, indent=1)
