"""The commented guarantees.toml that ``kernel-lab init --gate`` writes."""

from __future__ import annotations

from collections.abc import Sequence

_HEAD = """\
# What this service guarantees. Measure it and judge it:  kernel-lab gate --guarantees THIS_FILE
# Every key is described in docs/gate.md.
# kernel = "my_service.kernel:build"     # a kernel of your own
# promises = "promises.toml"             # what it promises (docs/your-kernel.md)
# deployments = "deployments.toml"       # deployments of your own

"""
_ADDED = {
    "rate_limit": """\
# Beside the verdict a figure can be bound: never more than the limit in one window.
# verdict = "valid"
# measure = "factor"
# max = 1
""",
    "revocation": """\
# How sure is "never"? With 95 % confidence at most 2 % of the calls after a revoke may be accepted. It takes
# 149 calls without a failure to say so. Fewer calls are "not judged", and that is exit code 2.
# upper_bound = 0.02
# connections = "round_robin"   # fresh, keep_alive; all three where nothing is said
""",
}


def text_of(claims: Sequence[str], *, deployment: str = "", app: str = "") -> str:
    """The file for some claims, on a deployment of the lab or of the service of an app.toml."""
    where = f'app = "{app}"' if app else f'deployment = "{deployment}"'
    tables = [f'[[guarantee]]\nclaim = "{claim}"\n{where}\n{_ADDED.get(claim, "")}' for claim in claims]
    return _HEAD + "\n".join(tables)
