"""What the learner has solved and measured. It is kept in a file that git ignores."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from facts import FRAMEWORK, WORKSHOP
from pictures import Figure, chart

FILE = WORKSHOP / ".progress.json"
REFERENCE = WORKSHOP / "reference.json"

Figures = dict[str, float]


@dataclass
class Result:
    """The results of a lesson: whether it is solved, and the figures of two checks."""

    solved: bool = False
    start: Figures = field(default_factory=dict)
    yours: Figures = field(default_factory=dict)


def load(file: Path = FILE) -> dict[str, Result]:
    """Return the results by lesson. A file that cannot be read counts as none."""
    try:
        return {
            name: Result(bool(result["solved"]), dict(result["start"]), dict(result["yours"]))
            for name, result in json.loads(file.read_text(encoding="utf-8")).items()
        }
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return {}


def record(lesson: str, figures: Figures, *, solved: bool) -> Result:
    """Record a check of the learner's files, and return the results of the lesson.

    Args:
        lesson: The name of the lesson.
        figures: The measurements.
        solved: Whether all goals were reached. A lesson that was solved once stays solved.
    """
    results = load()
    result = results.setdefault(lesson, Result(start=figures))
    result.yours = figures
    result.solved |= solved
    FILE.write_text(
        json.dumps({name: asdict(one) for name, one in results.items()}, indent=2) + "\n",
        encoding="utf-8",
    )
    return result


def reference() -> dict[str, dict[str, Figures]]:
    """Return the figures of the template's authors: by lesson, of the start and of the solution."""
    figures: dict[str, dict[str, dict[str, Figures]]] = json.loads(
        REFERENCE.read_text(encoding="utf-8")
    )
    return figures[FRAMEWORK]


def write_measurements() -> None:
    """Write the figures of all lessons beside the reference: a table and a chart."""
    known = reference()
    rows = []
    for lesson, result in sorted(load().items()):
        solution = known.get(lesson, {}).get("solution", {})
        for name, value in result.yours.items():
            label, _, unit = name.partition(", ")
            values = (result.start.get(name), value, solution.get(name))
            rows.append(Figure(lesson[:2], label, unit, *values))
    cells = [
        (row.lesson, row.label, row.unit, *map(shown, (row.start, row.yours, row.reference)))
        for row in rows
    ]
    heading = ("lesson", "measurement", "unit", "first", "now", "reference")
    ruler = ("---", "---", "---", "---:", "---:", "---:")
    table = "\n".join(f"| {' | '.join(line)} |" for line in (heading, ruler, *cells))
    text = f"# Your measurements\n\n![The same figures as bars](measurements.svg)\n\n{table}\n"
    WORKSHOP.joinpath("measurements.md").write_text(text, encoding="utf-8")
    WORKSHOP.joinpath("measurements.svg").write_text(chart(rows), encoding="utf-8")


def shown(value: float | None) -> str:
    """Return a measurement as text: with one decimal if it is small and not a whole number."""
    if value is None:
        return ""
    return f"{value:.0f}" if value == round(value) or value >= 100 else f"{value:.1f}"
