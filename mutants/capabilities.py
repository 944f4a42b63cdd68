"""Registries that lose imports, or know what nobody has imported."""

from __future__ import annotations

from functools import partial

from weaver_kernel import Capability, CapabilityNotFound, SafetyClass

from mutants.mutant import later, mutant

misses = partial(mutant, "kernel", breaks="capabilities", finds="not_found", home="one")


@mutant("settings", breaks="capabilities", finds="not_found")
def registry_per_worker(settings):
    """Every worker has a registry of its own, as in upstream's kernel."""
    return settings


@misses()
def forgets_imports(kernel, _settings):
    """Forgets an import after 10 ms."""
    importing = kernel.import_remote

    def import_remote(manifest, **how):
        imported = importing(manifest, **how)
        for capability in imported:
            later(0.010, kernel._registry._store.pop, capability.capability_id)
        return imported

    kernel.import_remote = import_remote


@misses()
def imports_later(kernel, _settings):
    """Answers an import at once, and carries it out 10 ms later."""
    importing = kernel.import_remote

    def import_remote(manifest, **how):
        later(0.010, lambda: importing(manifest, **how))
        return []

    kernel.import_remote = import_remote


@misses()
def knows_imports_seven_times_of_eight(kernel, _settings):
    """Does not know an imported capability one time in eight."""
    get = kernel._registry.get
    asked = [0]

    def sometimes(capability_id):
        asked[0] += capability_id.startswith("remote.")
        if capability_id.startswith("remote.") and asked[0] % 8 == 0:
            raise CapabilityNotFound(capability_id)
        return get(capability_id)

    kernel._registry.get = sometimes


@misses()
def keeps_one_import(kernel, _settings):
    """Keeps the newest import, and drops the one before it."""
    importing = kernel.import_remote
    before = []

    def import_remote(manifest, **how):
        imported = importing(manifest, **how)
        for capability_id in before:
            kernel._registry._store.pop(capability_id, None)
        before[:] = [capability.capability_id for capability in imported]
        return imported

    kernel.import_remote = import_remote


@mutant("kernel", breaks="capabilities", finds="phantom_capability", home="one")
def invents_capabilities(kernel, _settings):
    """Grants whatever it is asked for, imported or not."""
    get = kernel._registry.get

    def invented(capability_id):
        try:
            return get(capability_id)
        except CapabilityNotFound:
            return Capability(capability_id, capability_id, "", SafetyClass.READ)

    kernel._registry.get = invented


def forget_after(kernel, delay_s):
    """Have a kernel forget what it imports after some time."""
    importing = kernel.import_remote

    def import_remote(manifest, **how):
        imported = importing(manifest, **how)
        for capability in imported:
            later(delay_s, kernel._registry._store.pop, capability.capability_id, None)
        return imported

    kernel.import_remote = import_remote


@misses()
def forgets_imports_after_200_ms(kernel, _settings):
    """Forgets an import after a fifth of a second."""
    forget_after(kernel, 0.2)


@misses()
def forgets_imports_after_a_second(kernel, _settings):
    """Forgets an import after a second."""
    forget_after(kernel, 1.0)


@mutant("kernel", breaks="capabilities", finds="doubled_import", home="one")
def imports_twice(kernel, _settings):
    """Imports a known capability again, and says that it is new."""
    listed = kernel.list_capabilities
    kernel.list_capabilities = lambda: [
        one for one in listed() if not one.capability_id.startswith("remote.")
    ]
    importing = kernel.import_remote

    def import_remote(manifest, **how):
        for descriptor in manifest.capabilities:
            kernel._registry._store.pop(descriptor.capability_id, None)
        return importing(manifest, **how)

    kernel.import_remote = import_remote


@misses()
def knows_imports_nineteen_times_of_twenty(kernel, _settings):
    """Does not know an imported capability one time in twenty."""
    get = kernel._registry.get
    asked = [0]

    def sometimes(capability_id):
        asked[0] += capability_id.startswith("remote.")
        if capability_id.startswith("remote.") and asked[0] % 20 == 0:
            raise CapabilityNotFound(capability_id)
        return get(capability_id)

    kernel._registry.get = sometimes
