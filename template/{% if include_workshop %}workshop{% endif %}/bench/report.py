"""The results: medians, a table for the terminal, the same in Markdown, and a chart."""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from builder import Build
from project import CASES, OWN

# The later techniques of the articles. 07 is not from an article.
LATER_OF_ARTICLES = ("04", "05", "06")
MEGABYTE = 1e6
OWN_COLOR, COLOR = "#c0392b", "#95a5a6"

Results = dict[str, Any]
Techniques = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Column:
    """A column of the results: its heading and the format of its values."""

    heading: str
    write: Callable[[float], str]


COLUMNS = {
    **{case: Column(case, "{:.2f}".format) for case in CASES},
    "size": Column("image, MB", lambda size: f"{size / MEGABYTE:.0f}"),
    "layers": Column("layers", "{:.0f}".format),
    "start": Column("start to first 200", "{:.2f}".format),
}


class Measurements:
    """The measurements, by technique and column."""

    def __init__(self, techniques: list[str]) -> None:
        """Start without measurements."""
        self._values: dict[str, dict[str, list[float]]] = {
            name: defaultdict(list) for name in techniques
        }
        self._ran: dict[str, dict[str, list[str]]] = {name: {} for name in techniques}

    def add_build(self, technique: str, case: str, build: Build) -> None:
        """Add the time and the steps of a build."""
        self._values[technique][case].append(build.seconds)
        self._ran[technique][case] = build.ran

    def add_start(self, technique: str, seconds: float) -> None:
        """Add the time from `docker run` to the first response, in seconds."""
        self._values[technique]["start"].append(seconds)

    def add_image(self, technique: str, image: tuple[int, int]) -> None:
        """Add an image: its size in bytes and how many layers it has."""
        self._values[technique]["size"].append(image[0])
        self._values[technique]["layers"].append(image[1])

    def results(self) -> Techniques:
        """Return the medians, every value, and the steps that each case ran in the last round."""
        return {
            name: {
                "median": {
                    column: statistics.median(values[column])
                    for column in COLUMNS
                    if values[column]
                },
                "values": values,
                "ran": self._ran[name],
            }
            for name, values in self._values.items()
        }


def medians(techniques: Techniques) -> dict[str, dict[str, float]]:
    """Return the medians by technique and column."""
    return {name: measured["median"] for name, measured in techniques.items()}


def ratios(techniques: Techniques, others: list[str]) -> dict[str, float]:
    """Return the project's medians divided by the best of others, by column, or an empty dict."""
    found = medians(techniques)
    rivals = [found[name] for name in others if name in found]
    if OWN not in found or not rivals:
        return {}
    return {
        name: value / min(rival[name] for rival in rivals) for name, value in found[OWN].items()
    }


def rows(results: Results) -> list[list[str]]:
    """Return the results as rows of text: a heading, the techniques, two comparisons."""
    if "growth" in results:
        return growth_rows(results["growth"])
    techniques: Techniques = results["techniques"]
    written = [["", *(column.heading for column in COLUMNS.values())]]
    for technique, median in medians(techniques).items():
        written.append(
            [technique, *(column.write(median[name]) for name, column in COLUMNS.items())]
        )
    articles = [name for name in techniques if name.startswith(LATER_OF_ARTICLES)]
    for heading, others in (("to the best article", articles), ("to uv", ["uv"])):
        if found := ratios(techniques, others):
            written.append([heading, *(f"{found[name]:.2f}" for name in COLUMNS)])
    return written


def growth_rows(growth: dict[int, Techniques]) -> list[list[str]]:
    """Return the times for a new dependency, with a row for each number of packages."""
    names = list(next(iter(growth.values())))
    written = [["packages", *names, "to uv"]]
    for packages, techniques in growth.items():
        found = [
            COLUMNS["new dependency"].write(medians(techniques)[name]["new dependency"])
            for name in names
        ]
        ratio = ratios(techniques, ["uv"]).get("new dependency")
        written.append([str(packages), *found, f"{ratio:.2f}" if ratio else ""])
    return written


def table(results: Results) -> Table:
    """Return the results as a table for the terminal."""
    heading, *lines = rows(results)
    shown = Table(caption=caption(results), box=box.SIMPLE, padding=0)
    shown.add_column(heading[0], no_wrap=True)
    for name in heading[1:]:
        # In a terminal of 80 columns, long headings break, and no figure does.
        shown.add_column(name, justify="right", overflow="fold", min_width=len("10.00"))
    for line in lines:
        shown.add_row(*line, style="bold" if line[0] == OWN or line[0].startswith("to ") else "")
    return shown


def caption(results: Results) -> str:
    """Return a sentence with the conditions of the measurement."""
    found = results["environment"]
    what = "for a new dependency, " if "growth" in results else ""
    return (
        f"Seconds, {what}medians of {results['rounds']} interleaved rounds on {found['date']}: "
        f"{found['machine']}, Docker {found['engine']} with {found['builder']}, "
        f"{found['base']}, Poetry {found['poetry']}, uv {found['uv']}"
    )


def markdown(results: Results) -> str:
    """Return the results as a Markdown table with its caption."""
    heading, *lines = rows(results)
    ruler = ["---", *("---:" for _ in heading[1:])]
    text = "\n".join(f"| {' | '.join(line)} |" for line in [heading, ruler, *lines])
    return f"{caption(results)}.\n\n{text}\n"


def bars(results: Results) -> Figure:
    """Return a chart with a panel for each column, in which each technique has a bar."""
    found = medians(results["techniques"])
    columns = [name for name in COLUMNS if name != "layers"]
    figure = Figure(figsize=(14, 7), layout="constrained")
    for place, name in enumerate(columns, start=1):
        panel = figure.add_subplot(2, 4, place)
        scale = MEGABYTE if name == "size" else 1
        colors = [OWN_COLOR if technique == OWN else COLOR for technique in found]
        drawn = panel.barh(
            list(found), [median[name] / scale for median in found.values()], color=colors
        )
        panel.bar_label(
            drawn, [COLUMNS[name].write(median[name]) for median in found.values()], padding=2
        )
        panel.set_title(COLUMNS[name].heading)
        panel.invert_yaxis()
        panel.margins(x=0.2)
        panel.spines[["top", "right"]].set_visible(False)
        if place % 4 != 1:
            panel.set_yticklabels([])
    return figure


def lines(results: Results) -> Figure:
    """Return a chart of the seconds that a new dependency takes, over the number of packages."""
    growth: dict[int, Techniques] = results["growth"]
    figure = Figure(figsize=(7, 4), layout="constrained")
    panel = figure.add_subplot(xlabel="packages", ylabel="new dependency, s")
    for technique in next(iter(growth.values())):
        seconds = [
            medians(techniques)[technique]["new dependency"] for techniques in growth.values()
        ]
        panel.plot(list(growth), seconds, marker="o", label=technique)
    panel.set_ylim(bottom=0)
    panel.legend()
    return figure


def write(results: Results, folder: Path) -> None:
    """Write the results as JSON, Markdown and SVG to a folder. Create the folder if necessary."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "growth" if "growth" in results else "results"
    chart = lines(results) if "growth" in results else bars(results)
    folder.joinpath(f"{name}.json").write_text(
        json.dumps(results, indent=2) + "\n", encoding="utf-8"
    )
    folder.joinpath(f"{name}.md").write_text(markdown(results), encoding="utf-8")
    chart.savefig(folder / f"{name}.svg", metadata={"Date": None})
