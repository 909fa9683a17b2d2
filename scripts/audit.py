"""Look every package of constraints.txt up among known vulnerabilities: python scripts/audit.py

The database is OSV's, which holds GitHub's and PyPI's advisories; where it can't be reached, PyPI's own. Exit code 0:
none is open, or no database can be reached, which is said. 1: some are open, listed. 2: pip-audit itself failed.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parent.parent / "constraints.txt"

ALLOWED: dict[str, tuple[str, str]] = {
    # advisory: (until when it may stay open, why it does no harm here)
}

AWAY = ("ConnectionError", "SSLError", "HTTPError", "Timeout", "resolve", "ServiceError")
"""What pip-audit's last line has where a database can't be reached."""


def looked_up(service: str, requirements: Path) -> list[dict[str, Any]]:
    """What pip-audit says of each package; nothing where the service can't be reached, or knows none of them.

    Raises :class:`ValueError` where pip-audit failed.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--no-deps", "--disable-pip"]
    command += ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return []
    except (json.JSONDecodeError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        if any(sign in last for sign in AWAY):
            return []
        raise ValueError(last[:200]) from None
    return packages if any("skip_reason" not in package for package in packages) else []


def main() -> int:
    first = next(line for line in LOCK.read_text(encoding="utf-8").splitlines() if line[:1].isalnum())
    try:
        with tempfile.TemporaryDirectory() as folder:
            one = Path(folder) / "one.txt"  # so that a database that isn't there isn't asked hundreds of times
            one.write_text(first, encoding="utf-8")
            service = next((service for service in ("osv", "pypi") if looked_up(service, one)), None)
        packages = looked_up(service, LOCK) if service else []
    except ValueError as error:
        print(f"audit: pip-audit failed ({error})", file=sys.stderr)
        return 2
    if not packages:
        print("audit: no database of advisories can be reached from here, so nothing was looked up")
        return 0
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    allowed = {advisory for advisory, (until, _) in ALLOWED.items() if today <= until}
    found = [
        (f"{package['name']} {package['version']}: {one['id']}, mended in {', '.join(one['fix_versions']) or 'none'}",
         bool(allowed & {one["id"], *one.get("aliases", [])}))
        for package in packages
        for one in package.get("vulns", [])
    ]  # fmt: skip
    skipped = sum("skip_reason" in package for package in packages)
    print("".join(f"{line}{' (allowed for now)' * passes}\n" for line, passes in found), end="")
    still_open = sum(not passes for _, passes in found)
    print(f"audit: {len(packages) - skipped} packages looked up, {skipped} could not be, {still_open} open, "
          f"{len(found) - still_open} allowed for now")  # fmt: skip
    return 1 if still_open else 0


if __name__ == "__main__":
    sys.exit(main())
