"""The version is said once, and the changelog has it."""

from __future__ import annotations

import re
import tomllib

from .pages import ROOT


def test_the_newest_release_of_the_changelog_is_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    if ".dev" in version:
        assert headings[0] == "Unreleased"
    else:
        assert re.fullmatch(rf"{re.escape(version)} \(20\d\d-\d\d-\d\d\)", headings[0])
