"""Preflight: build the kernel that ``LAB_KERNEL`` names once, and grant and invoke each part once.

``python -m lab.preflight`` reads JSON from its standard input: ``{"parts": {part: {"capability", "args"}}, "roles",
"tenant", "headers"}``. It answers with one JSON document. If there is no kernel to measure, this is ``{"error":
sentence}``. Otherwise it holds the values in force, the capabilities, and the results for each part. The program runs
in a process of its own, because it runs other people's code. It opens no port: the application is called in the
process.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import traceback
from importlib import import_module
from typing import Any

import httpx
from weaver_kernel import Kernel

from lab.app import build_api, in_force_of
from lab.in_force import describe
from lab.kernel import KernelView
from lab.settings import BadSettings, Settings, read_settings
from lab.worker import WorkerName

CALL_S = 10.0
"""The most seconds that one call may take."""


class NoKernel(Exception):  # noqa: N818 - it names a thing
    """The factory gives no kernel. The message says why, and what would be right."""


def build(settings: Settings) -> Kernel:
    """Call the factory, and return its kernel.

    Raises:
        NoKernel: It cannot be imported, cannot be called with settings, is asynchronous, raises an error, or returns
            something else.
    """
    asked = f"LAB_KERNEL={settings.kernel}"
    module, _, name = settings.kernel.partition(":")
    try:
        factory = getattr(import_module(module), name)
    except AttributeError:
        raise NoKernel(f"{asked}: the module {module} has no {name}; name a factory of it") from None
    except ModuleNotFoundError as error:
        raise NoKernel(
            f"{asked}: there is no module {error.name} on the path; set PYTHONPATH to where it is"
        ) from None
    except BaseException as error:  # noqa: BLE001 - a module of somebody else's can raise anything
        raise NoKernel(f"{asked}: importing {module} failed: {_told(error)}") from None
    if not callable(factory):
        raise NoKernel(f"{asked}: {name} is no function; factory(settings) -> weaver_kernel.Kernel is needed")
    if inspect.iscoroutinefunction(factory):
        raise NoKernel(f"{asked}: {name} is asynchronous; a plain factory(settings) -> Kernel is needed")
    try:
        inspect.signature(factory).bind(settings)
    except TypeError as error:
        raise NoKernel(f"{asked}: {name} cannot be called with the settings alone ({error})") from None
    except ValueError:
        pass  # the callable has no signature that can be read, so the call itself will show whether it works
    try:
        kernel = factory(settings)
    except BaseException as error:  # noqa: BLE001 - a factory of somebody else's can raise anything
        raise NoKernel(f"{asked}: {name}(settings) raised {_told(error)}") from None
    if not isinstance(kernel, Kernel):
        raise NoKernel(
            f"{asked}: {name}(settings) returned {type(kernel).__name__}, not a weaver_kernel.Kernel"
        )
    return kernel


def _told(error: BaseException) -> str:
    """Return an error of other people's code on one line: its class, its place and its text."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}{place}" + (f": {text}" if text else "")


async def try_parts(kernel: Kernel, settings: Settings, asked: dict[str, Any]) -> dict[str, Any]:
    """Grant and invoke each part once, through the application that the workers serve."""
    name = WorkerName(replica="preflight", pid=0, boot="0")
    worker = describe(settings, name, chained_audit=hasattr(KernelView.of(kernel).traces, "verify_chain"))
    worker = in_force_of(kernel, settings, worker)
    transport = httpx.ASGITransport(app=build_api(kernel, worker), raise_app_exceptions=False)
    headers = {
        **(asked.get("headers") or {}),
        "X-Principal-Id": "preflight",
        "X-Principal-Roles": ",".join(asked.get("roles") or ("reader", "writer")),
        "X-Principal-Tenant": asked.get("tenant") or "acme",
    }
    async with httpx.AsyncClient(
        transport=transport, base_url="http://lab", headers=headers, timeout=CALL_S
    ) as http:
        listed = (await http.get("/capabilities")).json()["capabilities"]
        parts = {
            part: await _try(http, said["capability"], said.get("args") or {})
            for part, said in _parts(asked.get("parts") or {}, listed).items()
        }
    return {"in_force": worker, "capabilities": listed, "parts": parts}


def _parts(said: dict[str, Any], listed: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the stated parts. Every other part gets the first capability of its safety class."""
    parts = dict(said)
    for part, safety_class in (("read", "READ"), ("write", "WRITE")):
        for capability in sorted(listed, key=lambda one: str(one["capability_id"])):
            plain = capability.get("sensitivity", "NONE") == "NONE"
            if part not in parts and capability["safety_class"] == safety_class and plain:
                parts[part] = {"capability": capability["capability_id"]}
    return parts


async def _try(http: httpx.AsyncClient, capability: str, args: dict[str, Any]) -> dict[str, Any]:
    """Return the results of one grant of a capability and of one invoke of it."""
    about: dict[str, Any] = {"capability": capability, "args": args, "grant": "", "invoke": "", "detail": ""}
    try:
        async with asyncio.timeout(CALL_S):
            granted = await http.post(
                "/grants",
                json={
                    "capability_id": capability,
                    "goal": "preflight",
                    "justification": "one grant before a run",
                },
            )
            about["grant"] = _end(granted)
            if not granted.is_success:
                about["detail"] = _detail(granted)
                return about
            invoked = await http.post("/invocations", json={"token": granted.json()["token"], "args": args})
    except TimeoutError:
        about["detail"] = f"it did not answer within {CALL_S:g} s"
        return about
    about["invoke"] = _end(invoked)
    about["detail"] = "" if invoked.is_success else _detail(invoked)
    return about


def _end(reply: httpx.Response) -> str:
    return (
        "ok" if reply.is_success else str(_document(reply).get("reason_code") or f"http_{reply.status_code}")
    )


def _detail(reply: httpx.Response) -> str:
    return " ".join(str(_document(reply).get("detail") or "").split())[:300]


def _document(reply: httpx.Response) -> dict[str, Any]:
    try:
        document = reply.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def main() -> None:
    """Write the answer to standard output. Everything that the kernel prints goes to standard error."""
    answer_to, sys.stdout = sys.stdout, sys.stderr
    asked = json.loads(sys.stdin.read() or "{}")
    try:
        settings = read_settings()
        kernel = build(settings)
        answer: dict[str, Any] = asyncio.run(try_parts(kernel, settings, asked))
    except (NoKernel, BadSettings) as error:
        answer = {"error": str(error)}
    answer_to.write(json.dumps(answer, default=str) + "\n")


if __name__ == "__main__":
    main()
