"""``.hosts.toml``: which hosts there are, where their engines answer, and how one is cut off.

``make up-swarm`` writes it for the hosts that it brings up. An operator who has hosts writes it by hand::

    [[host]]
    name = "1"  # the node's label `host`
    engine = "ssh://ops@10.0.0.1"  # as DOCKER_HOST takes it; the first host's must be a manager's

    [[host]]
    name = "2"
    engine = "ssh://ops@10.0.0.2"
    cut = ["ssh", "ops@10.0.0.2", "…"]  # takes the host off the network
    heal = ["ssh", "ops@10.0.0.2", "…"]  # and puts it back

    [store]
    cut = ["…"]  # takes the store off the workers' network
    heal = ["…"]

The commands are for whoever tests a partition by hand; no fault of the instrument uses them yet.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

FILE = ".hosts.toml"


class BadHosts(ValueError):  # noqa: N818 - it names a thing
    """The file is not what it should be; the message says where."""


class Link(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host or the store, with the commands that cut it off the network and put it back."""

    cut: tuple[str, ...] = ()
    heal: tuple[str, ...] = ()


class Host(Link, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One host."""

    name: str
    engine: str


class Hosts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    host: tuple[Host, ...]
    store: Link = Link()

    @property
    def manager(self) -> str:
        """Return the address of the swarm's manager."""
        return self.host[0].engine


def read_hosts(path: Path) -> Hosts | None:
    """Read the file of hosts; None where there is no file.

    Raises:
        BadHosts: With the file and the key that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        hosts = msgspec.convert(tomllib.loads(text), Hosts)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadHosts(f"{path.name}: {error}") from None
    if not hosts.host:
        raise BadHosts(f"{path.name}: has no [[host]]; the first one names the manager's engine")
    return hosts
