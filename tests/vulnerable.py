"""``python -m tests.vulnerable FILE…``: whether something is known against a pinned package, by pip-audit.

PyPI tells of vulnerabilities with each release; a mirror of it may not. What could not be asked is said, and fails
nothing: only what is known does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

RELEASE = "https://pypi.org/pypi/{}/json"
KNOWN = "pip/25.0"
"""A release that every index has."""
PATIENCE = 60.0
"""Seconds for all packages; mostly it takes ten."""


def told() -> str:
    """Why the package index does not tell of vulnerabilities; empty if it does."""
    try:
        with urllib.request.urlopen(RELEASE.format(KNOWN), timeout=10) as answer:
            return "" if "vulnerabilities" in json.load(answer) else "it says nothing of them"
    except (OSError, ValueError) as error:
        return str(error)


def ask(files: list[Path]) -> str:
    """What pip-audit prints of the pins in ``files``. Raises RuntimeError if it could not ask."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes"]
    command += [
        "--progress-spinner",
        "off",
        "--format",
        "json",
        *(word for file in files for word in ("-r", str(file))),
    ]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"no answer within {PATIENCE:.0f} s") from None
    if not run.stdout.startswith("{"):
        raise RuntimeError((run.stderr.strip().splitlines() or ["pip-audit says nothing"])[-1])
    return run.stdout


def judge(report: str) -> tuple[list[str], list[str]]:
    """Lines for what is vulnerable, and names of what the index did not know, in pip-audit's JSON."""
    packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    found = [
        f"{package['name']} {package['version']}: {known['id']}, "
        + (f"fixed in {', '.join(known['fix_versions'])}" if known["fix_versions"] else "not fixed yet")
        for package in packages
        for known in package.get("vulns", ())
    ]
    return found, [package["name"] for package in packages if "skip_reason" in package]


def main(files: list[Path]) -> int:
    why = told()
    if not why:
        try:
            found, unknown = judge(ask(files))
        except RuntimeError as error:
            why = str(error)
    if why:
        print(f"Packages are not audited: the index cannot be asked about vulnerabilities ({why})")
        return 0
    for line in found:
        print(line, file=sys.stderr)
    if found:
        print("vulnerable packages are pinned: make lock", file=sys.stderr)
    if unknown:
        print(f"Not audited, as the index does not know them: {', '.join(unknown)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
