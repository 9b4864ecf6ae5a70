"""Run the workshop's benchmark on a new project of each framework, and show the results in the documentation.

`make bench` runs this with the tools of `.venv`, and passes ARGS to the benchmark. It takes about half an hour.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.locks import ROOT, render
from tools.questionnaire import choices

PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "docs" / "benchmarks"
BLOCK = re.compile(r"(?<=<!-- benchmark -->\n).*(?=<!-- /benchmark -->)", re.DOTALL)
# The cases and the comparisons that the README shows, by their names in the results.
SUMMARY_ROWS = {
    "cold": "without a cache",
    "version bump": "after an edit of `pyproject.toml` that changes no dependency",
    "new dependency": "after a new dependency",
    "source edit": "after an edit of the source",
}
SUMMARY_COLUMNS = ("project", "to the best article", "to uv")


def bench(project: Path, output: Path, arguments: list[str]) -> None:
    """Run a project's benchmark.

    Args:
        project: The project.
        output: The folder for the results.
        arguments: More arguments for the benchmark.

    Raises:
        SystemExit: The benchmark failed. It has printed the reason.
    """
    uv = Path(sys.executable).with_name("uv")
    command: list[str | Path] = [uv, "run", "--quiet", "workshop/bench/bench.py", f"--output={output}", *arguments]
    if code := subprocess.run(command, cwd=project, check=False).returncode:
        raise SystemExit(code)


def block(results: Path) -> str:
    """Return the lines of docs/benchmarks.md about the results in a folder."""

    def table(name: str) -> str:
        return results.joinpath(name).read_text(encoding="utf-8")

    def chart(framework: str) -> str:
        return f"![The same figures as bars]({results.name}/{framework}/results.svg)"

    parts = [
        *("## FastAPI", table("fastapi/results.md").strip(), chart("fastapi")),
        *("## FastAPI, with more packages", table("fastapi/growth.md").strip()),
        *("## Flask", table("flask/results.md").strip(), chart("flask")),
    ]
    return "\n" + "\n\n".join(parts) + "\n\n"


def summary(results: Path) -> str:
    """Return the lines of the README about the results in a folder: four builds of FastAPI, and two comparisons."""
    text = results.joinpath("fastapi", "results.md").read_text(encoding="utf-8")
    caption, _, table = text.partition("\n\n")
    heading, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
    columns = {row[0]: dict(zip(heading, row, strict=True)) for row in rows}
    lines = [
        "| build | seconds | ratio to the articles | ratio to uv |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {label} | " + " | ".join(columns[name][case] for name in SUMMARY_COLUMNS) + " |"
            for case, label in SUMMARY_ROWS.items()
        ),
    ]
    return "\n".join(["", caption, "", *lines, ""]) + "\n"


PAGES = {PAGE: block, ROOT / "README.md": summary}


def update(page: Path, lines: str) -> None:
    """Replace the lines about the results in a page."""
    text = page.read_text(encoding="utf-8")
    page.write_text(BLOCK.sub(lambda _: lines, text), encoding="utf-8")


def main() -> None:
    """Measure each framework, and FastAPI with more packages. Then update the documentation."""
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for framework in choices()["framework"]:
            project = render(Path(folder) / framework, framework=framework, include_workshop=True)
            bench(project, RESULTS / framework, arguments)
        bench(Path(folder) / "fastapi", RESULTS / "fastapi", ["--growth", *arguments])
    for page, write in PAGES.items():
        update(page, write(RESULTS))


if __name__ == "__main__":
    main()
