"""The suite tests the package that is installed: a wheel's, or the sources of an editable installation."""

from __future__ import annotations

import importlib
import json
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest


@pytest.mark.parametrize("module", ["autobatcher", "autobatcher_pytest"])
def test_the_package_that_is_tested_is_the_one_that_is_installed(module: str) -> None:
    installed = distribution("autobatcher")
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    is_editable = origin.get("dir_info", {}).get("editable", False)
    home = Path(url2pathname(urlsplit(origin["url"]).path)) if is_editable else Path(str(installed.locate_file("")))
    assert Path(importlib.import_module(module).__file__ or "").is_relative_to(home.resolve())
