"""Look every package of constraints.txt up among known vulnerabilities: python scripts/audit.py

The database is OSV's, which holds GitHub's and PyPI's advisories. Exit code 0: none is open, or the database can't be
reached, which is said. 1: some are open, listed. 2: pip-audit itself failed.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parent.parent / "constraints.txt"

ALLOWED: dict[str, tuple[str, str]] = {
    # advisory: (until when it may stay open, why it does no harm here)
}


def unreached() -> int:
    print("audit: the database of advisories can't be reached from here, so nothing was looked up")
    return 0


def main() -> int:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    allowed = {advisory for advisory, (until, _) in ALLOWED.items() if today <= until}
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--no-deps", "--disable-pip"]
    command += ["--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    command += [f"--ignore-vuln={advisory}" for advisory in sorted(allowed)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return unreached()
    except (json.JSONDecodeError, KeyError):
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        if any(sign in last[0] for sign in ("ConnectionError", "Timeout", "resolve", "ServiceError")):
            return unreached()
        print(f"audit: pip-audit failed ({last[0][:200]})", file=sys.stderr)
        return 2
    open_ones = [
        f"{package['name']} {package['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'none'}"
        for package in packages
        for found in package.get("vulns", [])
    ]
    skipped = sum("skip_reason" in package for package in packages)
    if skipped == len(packages):
        return unreached()
    print("\n".join([*open_ones, ""]), end="")
    print(f"audit: {len(packages) - skipped} packages looked up, {skipped} could not be, {len(open_ones)} open, "
          f"{len(allowed)} allowed for now")  # fmt: skip
    return 1 if open_ones else 0


if __name__ == "__main__":
    sys.exit(main())
