"""Read nginx's upstreams; crossplane knows the grammar."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import crossplane

from kernel_lab.doctor.facts import Balancer, Place, Reading, Value
from kernel_lab.doctor.files import Files

MOST_INCLUDES: Final = 10
_ADDRESS: Final = re.compile(
    r"\$(binary_)?(remote_addr|realip_remote_addr|proxy_protocol_addr|http_x_forwarded_for|http_x_real_ip|proxy_add_x_forwarded_for)"
)
_EACH_REQUEST: Final = re.compile(r"\$(request_uri|uri|request_id|request|args|msec)\b")


def read(path: str, text: str, files: Files, reading: Reading) -> None:
    """The upstreams of a file, with the files it includes where they were given."""
    parsed = _parse(path, text, reading)
    knows_client = False
    balancers: list[Balancer] = []
    for directive in _all(parsed, files, reading):
        name = directive["directive"]
        if name in {"real_ip_header", "set_real_ip_from"} or (
            name == "listen" and "proxy_protocol" in directive["args"]
        ):
            knows_client = True
        if name == "upstream":
            balancers.append(_upstream(directive, files, reading))
    found = [replace(each, knows_client=knows_client) for each in balancers if each.servers or each.backups]
    places = {each.place for each in found}
    reading.balancers[:] = [*(each for each in reading.balancers if each.place not in places), *found]


def _parse(path: str, text: str, reading: Reading) -> list[dict[str, Any]]:
    if "{{" in text or "{%" in text:
        text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "TEMPLATED", text, flags=re.DOTALL)
    if _depth(text) > 100:
        reading.trouble(
            Place(path), "The blocks are nested deeper than 100 levels, so the file was not read."
        )
        return []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "nginx.conf"
        copy.write_text(text, encoding="utf-8")
        payload = crossplane.parse(
            str(copy),
            single=True,
            catch_errors=True,
            check_ctx=False,
            check_args=False,
            comments=False,
            strict=False,
        )
    for error in payload["errors"]:
        said = str(error.get("error", "it is not nginx's language")).partition(" in ")[0]
        reading.trouble(
            Place(path, int(error.get("line") or 1)),
            f"This is not nginx's language ({said}), so the rest of the file was not read.",
        )
    directives: list[dict[str, Any]] = payload["config"][0]["parsed"] if payload["config"] else []
    return [{**each, "file": path} for each in directives]


def _depth(text: str) -> int:
    deepest = now = 0
    for character in text:
        now += (character == "{") - (character == "}")
        deepest = max(deepest, now)
    return deepest


def _all(
    directives: list[dict[str, Any]], files: Files, reading: Reading, depth: int = 0
) -> Iterator[dict[str, Any]]:
    todo = list(directives)
    while todo:
        directive = todo.pop(0)
        yield directive
        inner = [{**each, "file": directive["file"]} for each in directive.get("block", [])]
        if directive["directive"] == "include" and depth < MOST_INCLUDES:
            for found in _included(directive, files):
                reading.consumed.add(found)
                yield from _all(_parse(found, files.texts[found], reading), files, reading, depth + 1)
        if directive["directive"] != "upstream":
            todo = [*inner, *todo]


def _included(directive: Mapping[str, Any], files: Files) -> list[str]:
    wanted = str((directive["args"] or [""])[0])
    if "*" in wanted:
        pattern = re.compile(re.escape(wanted.rpartition("/")[2]).replace(r"\*", ".*"))
        folder = wanted.rpartition("/")[0].rpartition("/")[2]
        return [
            path
            for path in files.texts
            if pattern.fullmatch(Path(path).name)
            and (not folder or Path(path).parent.name == folder)
            and path != directive["file"]
        ]
    found = files.find(wanted, directive["file"])
    return [found] if found is not None and found != directive["file"] else []


def _upstream(directive: Mapping[str, Any], files: Files, reading: Reading) -> Balancer:
    place = Place(directive["file"], int(directive["line"]))
    servers: list[Value] = []
    backups: list[Value] = []
    given: dict[str, Any] = {"affinity": "none"}
    todo = [{**each, "file": directive["file"]} for each in directive.get("block", [])]
    seen: set[str] = set()
    while todo:
        each = todo.pop(0)
        name, arguments, where = (
            each["directive"],
            [str(word) for word in each["args"]],
            Place(each["file"], int(each["line"])),
        )
        if name == "include":
            for found in _included(each, files):
                if found not in seen:
                    seen.add(found)
                    reading.consumed.add(found)
                    todo = [*_parse(found, files.texts[found], reading), *todo]
        elif name == "server" and arguments and "down" not in arguments[1:]:
            (backups if "backup" in arguments[1:] else servers).append(Value(arguments[0], where))
            if any(word.startswith("weight=") and word != "weight=1" for word in arguments[1:]):
                given["weights"] = True
        elif name in {
            "ip_hash",
            "hash",
            "sticky",
            "sticky_cookie_insert",
            "least_conn",
            "least_time",
            "random",
        }:
            given |= _affinity(name, arguments, where)
    return Balancer(
        place=place,
        name=str((directive["args"] or ["upstream"])[0]),
        servers=tuple(servers),
        backups=tuple(backups),
        **given,
    )


def _affinity(name: str, arguments: list[str], place: Place) -> dict[str, Any]:
    if name == "ip_hash":
        return {"affinity": "address", "affinity_place": place, "key": "ip_hash"}
    if name == "hash" and arguments:
        key = arguments[0]
        if _EACH_REQUEST.search(key):
            return {"affinity": "none", "affinity_place": place, "key": key}
        kind = "address" if _ADDRESS.search(key) else "key"
        return {
            "affinity": kind,
            "affinity_place": place,
            "key": key,
            "consistent": "consistent" in arguments[1:],
        }
    if name.startswith("sticky"):
        return {"affinity": "cookie", "affinity_place": place, "key": " ".join(arguments)}
    if name == "random":
        return {"affinity": "random", "affinity_place": place}
    return {"affinity": "least", "affinity_place": place}
