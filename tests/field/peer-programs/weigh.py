"""`weigh.py DISTRIBUTION PACKAGE PATTERN`: its version, the lines of its files, the distributions beside it."""

from __future__ import annotations

import json
import sys
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path

distribution, package, pattern = sys.argv[1:4]
spec = find_spec(package)
assert spec is not None
assert spec.origin is not None
folder = Path(spec.origin).parent
lines = sum(len(path.read_bytes().splitlines()) for path in folder.rglob(pattern))
others = {found.name.lower() for found in distributions()} - {distribution}
print(json.dumps({"version": version(distribution), "lines": lines, "distributions": len(others)}))
