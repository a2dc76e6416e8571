"""Asks a database of vulnerabilities about every locked package: `make audit`.

pip-audit does the asking, of PyPI. What the database does not know it leaves out, and
says "no known vulnerabilities" where nothing was looked up at all; so here only a
package that was answered counts as audited. Must not know what the packages are for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCKS = (Path("requirements/run.txt"), Path("requirements/dev.txt"), Path("requirements/load.txt"))
UV = Path(sys.executable).with_name("uv")
TOOL = (str(UV), "tool", "run", "pip-audit==2.10.1", "--disable-pip", "--require-hashes", "--format", "json")
QUIET = ("--progress-spinner", "off", "--timeout", "15")
LIMIT_S = 300
CLEAN, VULNERABLE, NOT_AUDITED = 0, 1, 2
"""Exit codes. The last one says nothing of the packages: some or all were not looked up."""
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Report:
    """What the tool said of one lock file; `reason` is why it said nothing."""

    audited: int
    unknown: Sequence[str]
    vulnerabilities: Sequence[str]
    reason: str = ""


def audit() -> int:
    """Print what is known of each lock file; return `CLEAN`, `VULNERABLE` or `NOT_AUDITED`."""
    codes = [_print(lock, ask((*TOOL, *QUIET, "--requirement", str(lock)))) for lock in LOCKS]
    return VULNERABLE if VULNERABLE in codes else max(codes)


def ask(command: Sequence[str], limit_s: float = LIMIT_S) -> Report:
    """Run the tool and read its report."""
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return Report(0, (), (), f"the tool did not run ({type(error).__name__})")
    try:
        return read(json.loads(told.stdout))
    except (ValueError, KeyError, TypeError, AttributeError):
        lines = told.stderr.strip().splitlines() or ["it said nothing"]
        return Report(0, (), (), f"no report (exit code {told.returncode}): {lines[-1][:200]}")


def read(report: Any) -> Report:
    """Read the tool's JSON; raises `KeyError`, `TypeError` or `AttributeError` for anything else."""
    packages = report["dependencies"]
    found = [
        f"{package['name']} {package['version']}: {each['id']}, repaired in {', '.join(each['fix_versions']) or 'none'}"
        for package in packages
        for each in package.get("vulns", ())
    ]
    unknown = [package["name"] for package in packages if "vulns" not in package]
    return Report(len(packages) - len(unknown), unknown, found)


def _print(lock: Path, report: Report) -> int:
    for line in report.vulnerabilities:
        print(f"{lock}: VULNERABLE: {line}")
    if report.unknown or not report.audited:
        total, names = len(report.unknown) + report.audited, ", ".join(report.unknown[:SHOWN])
        unknown = f"the database that answered has not {len(report.unknown)} of {total} packages ({names}, …)"
        print(f"{lock}: NOT AUDITED: {report.reason or unknown}")
    if report.vulnerabilities:
        return VULNERABLE
    if report.unknown or not report.audited:
        return NOT_AUDITED
    print(f"{lock}: {report.audited} packages audited, no known vulnerability")
    return CLEAN
