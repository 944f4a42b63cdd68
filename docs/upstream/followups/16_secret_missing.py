"""Without WEAVER_KERNEL_SECRET every worker signs with a secret of its own, and accuses the others.

Exits 0 while weaver-kernel behaves as described, 1 once it no longer does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

WORKER = """
import json, sys
from weaver_kernel import AgentKernelError, CapabilityToken, HMACTokenProvider

provider = HMACTokenProvider()
presented = json.loads(sys.argv[1])
if presented is None:
    print(json.dumps(provider.issue("tickets.list", "alice").to_dict()))
else:
    try:
        provider.verify(CapabilityToken.from_dict(presented),
                        expected_principal_id="alice", expected_capability_id="tickets.list")
        print(json.dumps("accepted"))
    except AgentKernelError as refusal:
        print(json.dumps(f"{type(refusal).__name__}: {refusal}"))
"""


def in_a_worker(token: object, secret: str | None) -> object:
    """Start a worker, have it issue (None) or verify a token, and return what it said."""
    env = {name: value for name, value in os.environ.items() if name != "WEAVER_KERNEL_SECRET"}
    if secret is not None:
        env["WEAVER_KERNEL_SECRET"] = secret
    done = subprocess.run(
        [sys.executable, "-c", WORKER, json.dumps(token)], env=env, capture_output=True, text=True
    )
    return json.loads(done.stdout) if done.returncode == 0 else "did not start"


def main() -> int:
    token = in_a_worker(None, None)
    answer = str(in_a_worker(token, None))
    shared = in_a_worker(in_a_worker(None, "shared"), "shared")
    claims = {
        "with a secret in the environment B accepts A's token": shared == "accepted",
        "without one A starts and issues": isinstance(token, dict),
        "B refuses A's token": answer.startswith("TokenInvalid"),
        "and suspects tampering": "tampered" in answer,
    }
    for claim, holds in claims.items():
        print(f"{'as described' if holds else 'NO LONGER   '}  {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
