"""A service in Python: subclass `App` and override the operations that the service has.

Twenty lines are enough::

    from kernel_lab import App, Http


    class Shop(App):
        async def attempt(self, http: Http, caller: str) -> bool:
            reply = await http.get("/quote", headers={"X-User": caller})
            return reply.means(ok=200, refused=429)

In ``app.toml``: ``adapter = "shop.py:Shop"``.

Each claim needs certain operations, and is left out where one is missing:

- ``rate_limit``: `App.attempt`;
- ``revocation``: `App.login`, `App.use` and `App.revoke`;
- ``handles`` (what was stored through one worker is found on every worker): `App.put` and `App.get`;
- ``stats`` (a counter is the deployment's): `App.add` and `App.read`.

An operation that raises `Unclear`, or anything else, is recorded as *unknown*: it may have had its effect.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from kernel_lab.apps.http import Http
from kernel_lab.bad_input import BadInput

NEEDS: dict[str, tuple[str, ...]] = {
    "rate_limit": ("attempt",),
    "revocation": ("login", "use", "revoke"),
    "handles": ("put", "get"),
    "stats": ("add", "read"),
}
"""Claim -> the operations without which the claim cannot be tested."""


class App:
    """A service: override the operations that it has.

    Every operation gets its own connection by the cell's policy.
    """

    async def attempt(self, http: Http, caller: str) -> bool:
        """Make the call that is limited; True if it was admitted, False if the limit denied it."""
        raise NotImplementedError

    async def login(self, http: Http, caller: str) -> str:
        """Get a token, a session or whatever can be revoked."""
        raise NotImplementedError

    async def use(self, http: Http, caller: str, token: str) -> bool:
        """Present the token; True if it was accepted, False if it was refused."""
        raise NotImplementedError

    async def revoke(self, http: Http, caller: str, token: str) -> None:
        """Revoke the token: log out, suspend."""
        raise NotImplementedError

    async def put(self, http: Http, caller: str) -> str:
        """Store something; its id."""
        raise NotImplementedError

    async def get(self, http: Http, caller: str, id: str) -> bool:  # noqa: A002 - services use this name
        """Fetch it; True if it was there, False if the service does not know it."""
        raise NotImplementedError

    async def add(self, http: Http, caller: str) -> None:
        """Do what the service counts."""
        raise NotImplementedError

    async def read(self, http: Http, caller: str) -> int:
        """Return the service's counter."""
        raise NotImplementedError

    def offers(self, operation: str) -> bool:
        """Whether the service has an operation."""
        return getattr(type(self), operation) is not getattr(App, operation)

    def lacks(self, claim: str) -> list[str]:
        """The operations that a claim needs and the service does not have."""
        return [operation for operation in NEEDS[claim] if not self.offers(operation)]


def load(where: str, folder: Path) -> App:
    """The app that ``file.py:Class`` names, relative to a folder.

    Raises:
        BadInput: There is no such file or class, the class is not an `App`, or it cannot be made.
    """
    file, _, name = where.partition(":")
    path = (folder / file).resolve()
    if not name or path.suffix != ".py":
        raise BadInput(f"adapter {where!r}: should be file.py:Class, such as shop.py:Shop")
    if not path.is_file():
        raise BadInput(f"adapter {where!r}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"kernel_lab_adapter_{path.stem}", path)
    assert spec is not None  # noqa: S101 - a .py file has a loader
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        made = getattr(module, name)()
    except AttributeError as error:
        raise BadInput(f"adapter {where!r}: {error}") from None
    except Exception as error:  # other people's code fails in its own way
        raise BadInput(f"adapter {where!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(made, App):
        raise BadInput(f"adapter {where!r}: {name} is no kernel_lab.App")
    return made
