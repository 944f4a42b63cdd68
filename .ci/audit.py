"""Fail on a pinned dependency with a known vulnerability; where the database cannot be reached, say so and pass.

python .ci/audit.py [CONSTRAINTS]
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

AUDIT = "pip-audit==2.10.1"


def audit(constraints: Path) -> int:
    """Ask pip-audit about each pinned package: 0 for none known to be vulnerable or no answer, 1 for one that is."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    command = [
        *(uv, "tool", "run", AUDIT, "--requirement", str(constraints), "--no-deps", "--disable-pip"),
        *("--format", "json", "--progress-spinner", "off", "--timeout", "15"),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        told = json.loads(done.stdout)
    except FileNotFoundError:
        print("audit: NOT DONE: there is no uv to run pip-audit with")
        return 0
    except json.JSONDecodeError:
        reason = (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
        print(f"audit: NOT DONE: the database of vulnerabilities could not be asked: {reason[:300]}")
        return 0
    packages = told["dependencies"]
    unanswered = [package["name"] for package in packages if "skip_reason" in package]
    print(f"audit: {len(packages) - len(unanswered)} of {len(packages)} packages were answered for")
    if unanswered:
        print(f"audit: NOT DONE for {', '.join(unanswered)}: the database has no answer about them")
    known = [
        f"audit: {package['name']} {package['version']}: {one['id']}, mended in {one['fix_versions'] or 'no version'}"
        for package in packages
        for one in package.get("vulns", ())
    ]
    print("\n".join(known) or "audit: no known vulnerability in those that were answered for")
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(audit(Path(sys.argv[1] if len(sys.argv) > 1 else "constraints.txt")))
