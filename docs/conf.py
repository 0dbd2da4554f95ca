"""How Sphinx makes the site of the pages in this folder: `nox -s docs`.

The pages are read on GitHub, too, so links are plain Markdown, and nothing but docs/reference needs Sphinx. What Sphinx
lacks is in docs/site_parts: links that lead out of this folder, the command line, the proxy's routes, names of other
projects, and llms.txt.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from site_parts import inventories

project = "autobatcher"
author = "The authors of autobatcher"
project_copyright = "The authors of autobatcher. MIT licence"
release = version = installed("autobatcher")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "site_parts.command_line",
    "site_parts.docstrings",
    "site_parts.http_routes",
    "site_parts.links",
    "site_parts.llms",
]

nitpicky = True
smartquotes = False  # "24h" is typed as it stands
suppress_warnings = ["misc.highlighting_failure"]  # DuckDB writes more than SQL

# Types of projects that publish no list of their names, and our own names for types that say themselves what they are.
nitpick_ignore_regex = [
    (r"py:.*", r"(openai|httpx|msgspec|quart_trio)\..*"),
    (r"py:class", r"autobatcher\.server\.(histogram|model_counts|request_log)\..*"),
    (
        r"py:class",
        r"autobatcher\.(engine|upstream|money\.budget)\..*",
    ),  # what the engine keeps in a `Request`
    (r"py:class", r"(ge|le)=\d+"),
]
nitpick_ignore = [
    ("py:class", name)
    for name in (
        "Account",
        "Arguments",
        "BatchDuration",
        "Decimal",
        "Duration",
        "Like",
        "TaskStatus",
    )
]

intersphinx_mapping = inventories.mapping()
intersphinx_timeout = 5

myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "all"

html_theme = "furo"
html_static_path = ["site_parts/static"]
html_css_files = ["site.css"]
html_title = f"autobatcher {release}"
exclude_patterns = ["site_parts"]
