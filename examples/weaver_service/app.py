"""A ticket service on weaver-kernel with routes of its own; tokens travel as JSON."""

import os
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException
from weaver_kernel import (
    AgentKernelError,
    Capability,
    CapabilityRegistry,
    CapabilityRequest,
    CapabilityToken,
    DefaultPolicyEngine,
    HMACTokenProvider,
    InMemoryDriver,
    Kernel,
    Principal,
    SafetyClass,
    StaticRouter,
    TokenRevoked,
)
from worker_header import WorkerASGI

registry = CapabilityRegistry()
registry.register(Capability("tickets.list", "List tickets", "Every open ticket.", SafetyClass.READ))
driver = InMemoryDriver()
driver.register_handler("tickets.list", lambda _: [{"id": number} for number in range(50)])
tokens = HMACTokenProvider(
    os.environ.get("WEAVER_KERNEL_SECRET") or "one secret for all the workers of this service"
)
kernel = Kernel(
    registry,
    policy=DefaultPolicyEngine(rate_limits={SafetyClass.READ: (5, 4.0)}),
    token_provider=tokens,
    router=StaticRouter({"tickets.list": ["memory"]}),
)
kernel.register_driver(driver)
app = FastAPI()
User = Annotated[str, Header(alias="X-User")]
app.add_middleware(WorkerASGI)


def whoever(user: str) -> Principal:
    """The caller."""
    return Principal(principal_id=user, roles=["reader"])


@app.post("/tickets/permission")
async def permit(user: User) -> dict[str, Any]:
    """A token for the list of tickets."""
    try:
        request = CapabilityRequest(capability_id="tickets.list", goal="read the tickets")
        return kernel.grant_capability(request, whoever(user), justification="on duty").token.to_dict()
    except AgentKernelError as error:
        raise HTTPException(429 if "rate" in str(error).lower() else 403, str(error)) from None


@app.post("/tickets")
async def tickets(token: dict[str, Any], user: User) -> dict[str, Any]:
    """The tickets, for a token."""
    try:
        frame = await kernel.invoke(CapabilityToken.from_dict(token), principal=whoever(user), args={})
    except TokenRevoked:
        raise HTTPException(410, "revoked") from None
    except AgentKernelError as error:
        raise HTTPException(403, f"{type(error).__name__}: {error}") from None
    return {"action": frame.action_id}


@app.delete("/tickets/permission/{token_id}", status_code=204)
async def revoke(token_id: str) -> None:
    """Take a permission back."""
    tokens.revoke(token_id)
