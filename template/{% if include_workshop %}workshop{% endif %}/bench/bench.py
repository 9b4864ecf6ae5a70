# /// script
# requires-python = ">=3.11"
# dependencies = ["matplotlib==3.11.2", "rich==15.0.0", "tomlkit==0.15.2"]
# ///
"""Build the project with each technique, time the builds after typical edits, and compare.

The techniques are the solutions of the lessons 00 to 07, uv, and the project's own Dockerfile.

    make bench                                        # or: uv run workshop/bench/bench.py
    make bench ARGS="--repeat 3 --only 06-cache-mounts uv project"

Needs only Docker, and works on a copy. Writes results.json, results.md and results.svg.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import report
from builder import Builder, BuildError
from project import CASES, OWN, Project, techniques

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STARTS = 3  # of each image in each round
GROWTH = (10, 40, 120)  # packages
CASES_OF_GROWTH = ("cold", "new dependency")
console = Console(stderr=True)


def arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    names = list(techniques(ROOT))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--repeat", type=int, default=3, help="number of rounds; the results are medians")
    option("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    option("--dependency", default="humanize", help="the package that the last case adds")
    option("--growth", action="store_true", help=f"measure with {GROWTH} dependencies instead")
    option("--output", type=Path, default=HERE, help="folder for the results")
    option("--json", action="store_true", help="print the results as JSON")
    option("--yes", action="store_true", help="share the engine's builder without asking")
    given = parser.parse_args()
    if given.repeat < 1:
        parser.error("--repeat must be at least 1")
    if not given.only:
        given.only = ["06-cache-mounts", "uv", OWN] if given.growth else names
    return given


@contextmanager
def progress_bar(total: int) -> Iterator[Progress]:
    """Show a progress bar with this number of steps."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        progress.add_task("", total=total)
        yield progress


def measure(
    project: Project, builder: Builder, given: argparse.Namespace, cases: Sequence[str], starts: int
) -> report.Techniques:
    """Run the cases. Each round runs every case, and each case every technique.

    Args:
        project: The prepared working copy.
        builder: The builder.
        given: The arguments: `only` names the techniques, `repeat` is the number of rounds.
        cases: Some of `CASES`, in their order.
        starts: How often each image is started in each round.

    Returns:
        The measurements, by technique.

    Raises:
        BuildError: An image was not built, or its container did not respond.
    """
    measured = report.Measurements(given.only)
    with progress_bar(given.repeat * len(given.only) * (len(cases) + starts)) as progress:
        task = progress.task_ids[0]

        def each(what: str) -> Iterable[str]:
            for technique in given.only:
                progress.update(task, description=f"{technique}: {what}")
                yield technique
                progress.advance(task)

        for number in range(given.repeat):
            project.reset()
            for case in cases:
                project.apply(case, number)
                for technique in each(case):
                    build = builder.build(project, technique, number, cold=case == "cold")
                    measured.add_build(technique, case, build)
            for _ in range(starts):
                for technique in each("start"):
                    measured.add_start(technique, builder.start(technique, project.version))
            for technique in given.only:
                measured.add_image(technique, builder.image(technique))
    return measured.results()


def run(given: argparse.Namespace, folder: Path) -> report.Results:
    """Measure working copies in a folder, and return the results."""
    with Builder.create(console, ROOT, share_without_asking=given.yes) as builder:
        sizes = GROWTH if given.growth else (None,)
        measured = {}
        for size in sizes:
            console.print("preparing a copy of the project and its locks")
            packages = HERE.joinpath("packages.txt").read_text(encoding="utf-8").split()
            project = Project(ROOT, folder / str(size), given.dependency)
            project.prepare(builder, packages[:size] if size else ())
            cases, starts = (CASES_OF_GROWTH, 0) if size else (CASES, STARTS)
            measured[size] = measure(project, builder, given, cases, starts)
        results = {"environment": builder.environment(project), "rounds": given.repeat}
        return results | ({"growth": measured} if given.growth else {"techniques": measured[None]})


def main() -> None:
    """Measure, write the results, and remove everything else."""
    given = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    start = time.monotonic()
    # In the project, because Docker may run in a virtual machine that does not share /tmp.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=HERE) as folder:
        results = run(given, Path(folder))
    report.write(results, given.output)
    if given.json:
        print(json.dumps(results, indent=2))
    else:
        Console().print(report.table(results))
    console.print(f"{time.monotonic() - start:.0f} s; results.* are in {given.output}")


if __name__ == "__main__":
    try:
        main()
    except BuildError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
