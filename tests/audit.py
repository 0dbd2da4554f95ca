"""`nox -s audit`: no bound in pyproject.toml lets in a version with a known advisory.

The list is tests/advisories.toml. A database that can be reached is asked as well, by pip-audit.
"""

from __future__ import annotations

import datetime
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

MAX_AGE_DAYS = 365


def main() -> int:
    """Print what is wrong; return how many things are."""
    folder = Path(__file__).parent
    listed = tomllib.loads((folder / "advisories.toml").read_text(encoding="utf-8"))
    project = tomllib.loads((folder.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    listed_there = (
        *project["dependencies"],
        *extras["trio"],
        *extras["serve"],
        *extras["money"],
        *extras["otel"],
        *extras["postgres"],
    )
    requirements = [Requirement(each) for each in listed_there]
    wrong = [
        *outdated(listed, datetime.datetime.now(tz=datetime.UTC).date()),
        *let_in(listed["advisory"], requirements),
    ]
    wrong += asked_database()
    for each in wrong:
        print(f"audit: {each}")
    print(f"audit: {len(listed['advisory'])} advisories against {len(requirements)} bounds, {len(wrong)} faults")
    return min(len(wrong), 1)


def outdated(listed: dict[str, Any], today: datetime.date) -> list[str]:
    """What to do if nobody has looked for advisories lately."""
    age = (today - listed["looked_up"]).days
    return [f"tests/advisories.toml is {age} days old: look for newer advisories."] if age > MAX_AGE_DAYS else []


def let_in(advisories: list[dict[str, Any]], requirements: list[Requirement]) -> list[str]:
    """The bounds that allow versions with an advisory, or are missing."""
    lowest = {each.name: lower_bound(each) for each in requirements}
    return [
        f"pyproject.toml allows {each['package']} {lowest.get(each['package'])}: {', '.join(each['ids'])} is fixed in "
        f"{each['fixed']} ({each['what']})."
        for each in advisories
        if lowest.get(each["package"], Version("0")) < Version(each["fixed"])
    ]


def lower_bound(requirement: Requirement) -> Version:
    """The lowest version that it allows."""
    return max((Version(each.version) for each in requirement.specifier if each.operator == ">="), default=Version("0"))


def asked_database() -> list[str]:
    """What pip-audit finds in this environment. Without a database nothing, and it says so: that is no clean bill."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner=off", "--timeout=5"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return without_database()
    if done.returncode == 0 and "could not be audited" not in done.stdout:
        return []
    if "Found " in done.stderr:
        return [done.stdout.strip()]
    return without_database()


def without_database() -> list[str]:
    """Say that only the list was asked."""
    print("audit: no database of advisories could be reached; only tests/advisories.toml was asked")
    return []


if __name__ == "__main__":
    sys.exit(main())
