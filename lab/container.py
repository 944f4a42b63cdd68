"""The start of a worker's container: it puts the engine's files and names where the lab reads them.

``python -m lab.container COMMAND…`` completes the environment and then replaces its own process by COMMAND:

- A secret that the environment leaves empty is read from ``/run/secrets``: ``weaver_kernel_secret``,
  ``store_password``.
- ``{store_password}`` in a ``LAB_*`` value becomes the store's password, quoted for a URL. If no password is given, the
  store has made one at random (``lab/store.sh``), and it is read from the store's volume.
- ``LAB_REPLICA``, where it is empty, becomes the container's own number. The engine's names count from 1, so
  ``lab-replicas-2`` is ``r1``.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

SECRETS = Path("/run/secrets")
DRAWN = Path("/run/store/password")
_PLACEHOLDER = "{store_password}"


class UnreadableSecret(ValueError):  # noqa: N818 - it names a thing
    """A secret's file cannot be read, or a password is needed and was not given."""


def environment(given: Mapping[str, str], *, secrets: Path, name: str, drawn: Path = DRAWN) -> dict[str, str]:
    """Return the worker's environment: `given`, completed.

    Args:
        given: The environment with which the container was started.
        secrets: The folder with the secrets' files. It may be empty or missing.
        name: The engine's name for this container; see `own_name`.
        drawn: The file with the password that the store makes where no password was given.

    Raises:
        UnreadableSecret: The message names the file and what would help, or the variable that needs a password.
    """
    env = dict(given)
    secret = env.get("WEAVER_KERNEL_SECRET") or _read(secrets / "weaver_kernel_secret")
    if secret:
        env["WEAVER_KERNEL_SECRET"] = secret
    password = env.pop("LAB_STORE_PASSWORD", "") or _read(secrets / "store_password") or _read(drawn)
    for variable, value in env.items():
        if variable.startswith("LAB_") and _PLACEHOLDER in value:
            if not password:
                raise UnreadableSecret(
                    f"{variable}: needs the store's password; LAB_STORE_PASSWORD, the secret store_password or the "
                    f"store's own file {drawn} should hold it"
                )
            env[variable] = value.replace(_PLACEHOLDER, quote(password, safe=""))
    if not env.get("LAB_REPLICA"):
        env["LAB_REPLICA"] = replica(name)
    return env


def replica(name: str) -> str:
    """Return ``r0`` for the container ``lab-replicas-1``. A name without a number stays as it is."""
    number = re.search(r"[-_](\d+)$", name.partition(".")[0])
    return f"r{int(number[1]) - 1}" if number and int(number[1]) else name.partition(".")[0]


def own_name() -> str:
    """Return the name of this container in the engine's name service; the host name if that service has none."""
    host = socket.gethostname()
    try:
        # ask the name service alone: /etc/hosts would answer with the host name, which is the container's id
        asked = ["getent", "-s", "dns", "hosts", socket.gethostbyname(host)]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=2, check=False).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        return host
    return found[1] if len(found) > 1 else host


def _read(path: Path) -> str:
    """Return a secret's file without the line ends that editors leave, as a shell's ``$(cat …)`` reads it."""
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UnreadableSecret(
            f"{path}: {error.strerror}; user {os.geteuid()} of this container must be able to read it"
        ) from None


def main(command: Sequence[str]) -> NoReturn:
    """Complete the environment, and replace this process by `command`."""
    try:
        env = environment(os.environ, secrets=SECRETS, name=own_name())
    except UnreadableSecret as error:
        sys.exit(str(error))
    os.execvpe(command[0], list(command), env)  # noqa: S606 - the command is the image's own


if __name__ == "__main__":
    main(sys.argv[1:])
