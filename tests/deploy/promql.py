"""What a PromQL expression names: metrics, their labels, and labels that it groups by. No parser: promtool is one."""

from __future__ import annotations

import re
from typing import NamedTuple

OF_PROMETHEUS = frozenset({"job", "instance"})
"""Labels that Prometheus adds to each series."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_DURATION = re.compile(r"\[[^\]]*\]")
_NAME = re.compile(r"(?<![\w.$])([a-zA-Z_:][\w:]*)\b(?!\s*\()")
_WORDS = frozenset(
    {"by", "without", "on", "ignoring", "group_left", "group_right", "offset", "and", "or", "unless", "bool"}
)


class Named(NamedTuple):
    """What an expression names.

    Attributes:
        metrics: each metric, with the labels that are matched.
        grouping: labels by which series are put together.
    """

    metrics: dict[str, frozenset[str]]
    grouping: frozenset[str]


def named_in(expression: str) -> Named:
    """Find what is named."""
    text = _DURATION.sub("", _STRING.sub('""', expression))
    grouping = frozenset(label for found in _GROUPING.findall(text) for label in re.findall(r"\w+", found))
    metrics = {name: frozenset(_MATCHER.findall(matchers)) for name, matchers in _SELECTOR.findall(text)}
    for name in _NAME.findall(_GROUPING.sub("", re.sub(r"\{[^}]*\}", "", text))):
        if name not in _WORDS:
            metrics.setdefault(name, frozenset())
    return Named(metrics, grouping)


def unknown_in(expression: str, series: dict[str, frozenset[str]]) -> set[str]:
    """The metrics and labels of an expression that no series has.

    Args:
        series: the labels of the series, by name.
    """
    named = named_in(expression)
    unknown = named.metrics.keys() - series.keys()
    for name, labels in named.metrics.items():
        unknown |= {f"{name}{{{label}}}" for label in labels - series.get(name, frozenset()) - OF_PROMETHEUS}
    labels = OF_PROMETHEUS.union(*(series.get(name, frozenset()) for name in named.metrics))
    return unknown | {f"by ({label})" for label in named.grouping - labels}
