"""``GET`` and ``POST /capabilities``: the capabilities of a worker, and the import of more."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body
from typing_extensions import TypedDict
from weaver_kernel import CapabilityManifest

from lab.capabilities import ImportedDriver
from lab.problems import CapabilityExists, refusals
from lab.routes.parts import KernelInUse
from lab.routes.route import KernelRoute

router = KernelRoute.router()


class CapabilityReply(TypedDict):
    """One capability, as upstream describes it to others."""

    capability_id: str
    name: str
    description: str
    safety_class: str
    sensitivity: str
    tags: list[str]


class CapabilitiesReply(TypedDict):
    """Every capability that this worker knows."""

    capabilities: list[CapabilityReply]


class ImportReply(TypedDict):
    """The capabilities that were imported."""

    capability_ids: list[str]


@router.get("/capabilities", summary="The capabilities this worker knows")
async def list_capabilities(kernel: KernelInUse) -> CapabilitiesReply:
    """Return the registry of the kernel that this worker serves."""
    return CapabilitiesReply(
        capabilities=[
            CapabilityReply(
                capability_id=capability.capability_id,
                name=capability.name,
                description=capability.description,
                safety_class=capability.safety_class.value,
                sensitivity=capability.sensitivity.value,
                tags=capability.tags,
            )
            for capability in kernel.list_capabilities()
        ]
    )


@router.post(
    "/capabilities",
    status_code=201,
    summary="Import a remote kernel's manifest",
    responses=refusals(409, 413, 422),
)
async def import_capabilities(
    manifest: Annotated[CapabilityManifest, Body()], kernel: KernelInUse
) -> ImportReply:
    """Import capabilities into this worker alone. Upstream's registry belongs to one process."""
    known = {capability.capability_id for capability in kernel.list_capabilities()}
    for descriptor in manifest.capabilities:
        if descriptor.capability_id in known:
            raise CapabilityExists(f"{descriptor.capability_id!r} is known to this worker already")
    imported = kernel.import_remote(manifest, driver=ImportedDriver())
    return ImportReply(capability_ids=[capability.capability_id for capability in imported])
