"""Read Apache's mod_wsgi directives: daemon processes and threads, or embedded mode."""

from __future__ import annotations

import re
import shlex

from kernel_lab.doctor.facts import UNBOUNDED, Balancer, Count, Place, Reading, Server, Service, Value


def read(path: str, text: str, reading: Reading) -> None:
    """The services of an Apache file."""
    directives = _directives(path, text, reading)
    defined = {
        words[1]: words[2] for words, _ in directives if words[0].lower() == "define" and len(words) > 2
    }
    daemons = 0
    for words, place in directives:
        if words[0].lower() == "wsgidaemonprocess" and len(words) > 1:
            daemons += 1
            _daemon([_filled(word, defined) for word in words], place, path, reading)
    scripts = [
        place
        for words, place in directives
        if words[0].lower() in {"wsgiscriptalias", "wsgiscriptaliasmatch"}
    ]
    if scripts and not daemons:
        reading.services.append(
            Service(
                name="mod_wsgi",
                kind="Apache",
                place=scripts[0],
                group=path,
                server=Server(
                    program="mod_wsgi",
                    place=scripts[0],
                    workers=UNBOUNDED,
                    workers_place=scripts[0],
                    workers_why="without WSGIDaemonProcess the application runs in each of Apache's own "
                    "processes, as many as the load starts",
                ),
            )
        )
    _members(directives, reading)


def _directives(path: str, text: str, reading: Reading) -> list[tuple[list[str], Place]]:
    found: list[tuple[list[str], Place]] = []
    rows = text.splitlines()
    number = 0
    opened: list[tuple[str, int]] = []
    while number < len(rows):
        start, line = number, rows[number].strip()
        number += 1
        while line.endswith("\\") and number < len(rows):
            line = f"{line[:-1].rstrip()} {rows[number].strip()}"
            number += 1
        if not line or line.startswith("#"):
            continue
        place = Place(path, start + 1)
        if closes := re.match(r"</(\w+)>", line):
            if not opened or opened[-1][0] != closes[1].lower():
                reading.trouble(place, f"`</{closes[1]}>` closes no section that is open.")
            else:
                opened.pop()
            continue
        if opens := re.match(r"<(\w+)\b", line):
            opened.append((opens[1].lower(), start + 1))
            line = line.strip("<>")
        try:
            words = shlex.split(line)
        except ValueError:
            reading.trouble(place, "The line has a quote that does not end, so it was not read.")
            continue
        if words:
            found.append((words, place))
    for name, line_number in opened:
        reading.trouble(Place(path, line_number), f"`<{name}>` is never closed.")
    return found


def _filled(word: str, defined: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: defined.get(found[1], found[0]), word)


def _daemon(words: list[str], place: Place, path: str, reading: Reading) -> None:
    options = {key.lower(): value for key, _, value in (word.partition("=") for word in words[2:])}
    processes = options.get("processes")
    settings = {"threads": Value(options.get("threads", "15"), place)}
    if "maximum-requests" in options:
        settings["max_requests"] = Value(options["maximum-requests"], place)
    workers: Count | None = Count.exactly(1)
    why = "WSGIDaemonProcess runs 1 process unless told otherwise"
    if processes is not None:
        workers = Count.exactly(int(processes)) if processes.isdigit() else None
        why = f"WSGIDaemonProcess {words[1]} processes={processes}"
    reading.services.append(
        Service(
            name=words[1],
            kind="Apache",
            place=place,
            group=path,
            server=Server(
                program="mod_wsgi",
                place=place,
                workers=workers,
                workers_place=place,
                workers_why=why,
                settings=settings,
            ),
        )
    )


def _members(directives: list[tuple[list[str], Place]], reading: Reading) -> None:
    members = [
        Value(words[1], place)
        for words, place in directives
        if words[0].lower() == "balancermember" and len(words) > 1
    ]
    if not members:
        return
    sticky = next(
        (place for words, place in directives if any("stickysession=" in word.lower() for word in words)),
        None,
    )
    reading.balancers.append(
        Balancer(
            place=members[0].place,
            name="balancer",
            servers=tuple(members),
            affinity="cookie" if sticky else "none",
            affinity_place=sticky,
            kind="Apache",
        )
    )
