"""Checks that the sdist and the wheel hold what git has, and nothing else. Run by `nox -s package`."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile

NOT_IN_THE_SDIST = (".github/", ".pre-commit-config.yaml")
"""What only a repository needs."""


def main(sdist: str, wheel: str) -> None:
    files = _in_git()
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    _compare(sdist, packed, {name for name in files if not name.startswith(NOT_IN_THE_SDIST)} | {"PKG-INFO"})
    with zipfile.ZipFile(wheel) as archive:
        installed = {name for name in archive.namelist() if ".dist-info/" not in name}
    _compare(wheel, installed, {name for name in files if name.startswith(("autobatcher/", "autobatcher_pytest/"))})


def _in_git() -> set[str]:
    """Also what is new and not committed yet."""
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")) - {""}


def _compare(distribution: str, packed: set[str], expected: set[str]) -> None:
    assert packed == expected, (
        f"{distribution}: too much {sorted(packed - expected)}, not there {sorted(expected - packed)} (pyproject.toml)"
    )
    print(f"{distribution}: {len(packed)} files")


if __name__ == "__main__":
    main(*sys.argv[1:])
