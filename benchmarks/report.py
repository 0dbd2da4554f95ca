"""Writes the results into docs/performance.md, between `<!-- results -->` and `<!-- /results -->`.

    python benchmarks/report.py [--results FILE] [--page FILE]

A ratio is that of two results of the same round; of those, the median and the extremes. A goal is met if the median
meets it. What has no result is said to be not measured. Bars are drawn (performance.svg) where matplotlib is installed.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from goals import GOALS, NUMBERS, Goal
from results import Results
from rounds import RESULTS, spread

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
VERDICTS = {True: "yes", False: "**no**", None: "-"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    results = Results.read(options.results)
    picture = options.page.with_suffix(".svg")
    if find_spec("matplotlib") and results.contenders("facade"):
        from bars import draw

        draw(results, picture)
    write(options.page, "\n\n".join(sections(results, picture)))


def write(page: Path, text: str) -> None:
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no {BEGIN} ... {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def sections(results: Results, picture: Path) -> Iterator[str]:
    yield circumstances(results)
    rows = [row for goal in GOALS for row in goal_rows(results, goal)]
    yield table(("measure", "goal", "result", "spread", "met?"), rows)
    if picture.exists():
        yield f"![CPU time and peak memory of each request, for each contender]({picture.name})"
    for measure in dict.fromkeys([*(goal.measure for goal in GOALS), *results.measures]):
        yield f"### {measure}"
        yield measure_table(results, measure)


def circumstances(results: Results) -> str:
    """Which machine, when, what was installed, how many rounds: one paragraph."""
    found = results.all()
    if not found:
        return "Nothing was measured yet."
    machines = {"{cpu}, {cores} cores, {system}, {architecture}".format(**each["machine"]) for each in found}
    dates = {each["date"] for each in found if "date" in each}
    rounds = {len({each["round"] for each in found if each["measure"] == measure}) for measure in results.measures}
    how_many = _listed(map(str, sorted(rounds)))
    return (
        f"Measured on {_listed(dates)}: {_listed(machines)}. {'; '.join(installed(results))}. Rounds: {how_many}; "
        "each cell is the median (least-most) of them, and ratios are made within a round."
    )


def installed(results: Results) -> Iterator[str]:
    """The Python and packages of each environment that told them."""
    told: dict[str, dict[str, str]] = {}
    for each in results.all():
        told.setdefault(each["environment"], {}).update(each.get("versions", {}))
    for environment, versions in told.items():
        if versions:
            packages = ", ".join(f"{_name(package)} {version}" for package, version in versions.items())
            yield f"`{environment}`: {packages}"


def goal_rows(results: Results, goal: Goal) -> Iterator[Sequence[str]]:
    names = results.contenders(goal.measure, goal.contender)
    for name in names or [goal.contender]:
        values = results.paired(goal, name)
        if not values:
            yield _described(goal, name), _limit(goal), "not measured", "", "-"
            continue
        digits = 2 if goal.against else _digits(values)
        median, extremes = spread(values, digits).split(" ", 1)
        yield _described(goal, name), _limit(goal), median, extremes.strip("()"), VERDICTS[goal.is_met(_median(values))]


def measure_table(results: Results, measure: str) -> str:
    names = results.contenders(measure)
    if not names:
        return "Not measured."
    fields = results.fields(measure)
    return table(["contender", *fields], [[name, *_cells(results, measure, name, fields)] for name in names])


def _cells(results: Results, measure: str, contender: str, fields: Iterable[str]) -> Iterator[str]:
    for field in fields:
        values = list(results.values(measure, contender, field).values())
        if len(set(values)) == 1:
            yield f"{values[0]:,}"
        else:
            yield spread(values, _digits(values)) if values else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _described(goal: Goal, contender: str) -> str:
    parts = [_sum((contender,), goal.less), _sum(goal.against, goal.against_less)]
    return f"{NUMBERS[goal.measure, goal.field]}: {' / '.join(filter(None, parts))}"


def _sum(plus: Sequence[str], minus: Sequence[str]) -> str:
    terms = " + ".join(plus) + "".join(f" - {name}" for name in minus)
    return f"({terms})" if len(plus) + len(minus) > 1 else terms


def _limit(goal: Goal) -> str:
    times = " x" if goal.against else ""
    if goal.at_most is not None:
        return f"at most {goal.at_most:g}{times}"
    return "none" if goal.at_least is None else f"at least {goal.at_least:g}{times}"


def _digits(values: Sequence[float]) -> int:
    """So that three figures are told."""
    size = abs(_median(values))
    return 0 if size >= 100 else 1 if size >= 10 else 2


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _name(package: str) -> str:
    return "Python" if package == "python" else package


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(sorted(texts)) or "an unknown day"


if __name__ == "__main__":
    main()
