"""Show the lessons of the workshop, or check the files of one.

    make workshop                        # or: python3 workshop/check
    make workshop LESSON=04              # or: python3 workshop/check 04
    make workshop LESSON=04 SOLUTION=1   # or: python3 workshop/check 04 --solution
    make workshop-prepare                # or: python3 workshop/check --prepare

Needs only Docker and Python. Everything that a check creates is removed at its end.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "The workshop needs Python 3.11 or newer on this machine: https://www.python.org/downloads/"
    )

import argparse
import fcntl
import json
import os
import signal
import tempfile
from pathlib import Path

import engine
import prepare
import progress
from attempt import Attempt, MissedError
from facts import WORKSHOP
from lessons import LESSONS, Lesson
from pictures import stage_graph

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        prog="workshop/check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("lesson", nargs="?", help="the number of a lesson, such as 04")
    parser.add_argument(
        "--solution", action="store_true", help="check the solution instead of your files"
    )
    parser.add_argument(
        "--prepare", action="store_true", help="fetch everything that the lessons need"
    )
    parser.add_argument("--figures", type=Path, help="write the measurements to this file as JSON")
    return parser.parse_args()


def find(number: str) -> Lesson:
    """Return the lesson with a number or a name.

    Raises:
        EngineError: There is none.
    """
    for lesson in LESSONS:
        if number.zfill(2) in (lesson.number, lesson.name):
            return lesson
    raise engine.EngineError(f"There is no lesson {number}: `make workshop` shows the lessons.")


def show() -> None:
    """Show the lessons, and which are solved."""
    results = progress.load()
    for lesson in LESSONS:
        result = results.get(lesson.name)
        mark = "✓" if result and result.solved else "…" if result else " "
        print(f"{mark} {lesson.title:44} workshop/{lesson.name}/README.md")
    print("\nCheck your files: make workshop LESSON=00")


def user() -> tuple[int, int]:
    """Return the IDs of the learner. Root stands for the first user of a machine."""
    return (os.getuid(), os.getgid()) if os.getuid() else (1000, 1000)


def check(lesson: Lesson, solution: list[Path], folder: Path) -> tuple[bool, progress.Figures]:
    """Check each goal of a lesson, and print the results.

    Args:
        lesson: The lesson.
        solution: The files of the solution, or nothing to check the learner's.
        folder: A folder for temporary files.

    Returns:
        Whether all goals were reached, and the measurements.
    """
    attempt = Attempt(lesson.folder, solution, folder, user())
    solved = True
    with attempt.resources:
        if lesson.packages is not None:
            attempt.resources.enter_context(
                prepare.index(*lesson.packages, password=attempt.password)
            )
        lesson.set_up(attempt)
        for goal in lesson.goals:
            text = str(goal.__doc__).partition("\n")[0].rstrip(".")
            try:
                goal(attempt)
            except (MissedError, engine.NotStartedError) as error:
                sentence = str(error)
                print(f"  ✗ {text}\n    {sentence[:1].upper()}{sentence[1:]}", flush=True)
                solved = False
                if not attempt.is_built:
                    break
            else:
                print(f"  ✓ {text}", flush=True)
    lesson.folder.joinpath("build.log").write_text(attempt.log, encoding="utf-8")
    dockerfile = attempt.files / "Dockerfile"
    if dockerfile.exists():
        picture = stage_graph(dockerfile.read_text(encoding="utf-8"))
        lesson.folder.joinpath("stages.svg").write_text(picture, encoding="utf-8")
    return solved, attempt.figures


def report(lesson: Lesson, figures: progress.Figures, *, is_solution: bool, solved: bool) -> None:
    """Print the measurements, record those of the learner, and say what comes next."""
    known = progress.reference().get(lesson.name, {})
    if is_solution:
        columns = {"here": figures, "reference": known.get("solution", {})}
    else:
        result = progress.record(lesson.name, figures, solved=solved)
        progress.write_measurements()
        columns = {"first": result.start, "now": figures, "reference": known.get("solution", {})}
    print(f"\n{'':45}" + "".join(f"{name:>10}" for name in columns))
    for name in figures:
        print(
            f"  {name:43}"
            + "".join(f"{progress.shown(column.get(name)):>10}" for column in columns.values())
        )
    if solved and not is_solution:
        done = sum(result.solved for result in progress.load().values())
        print(f"\nSolved: {done} of {len(LESSONS)} lessons.")


def main() -> int:
    """Run the command, and return its exit code: 0 if all goals were reached."""
    given = arguments()
    if not given.lesson and not given.prepare:
        show()
        return 0
    lesson = find(given.lesson) if given.lesson else None
    with WORKSHOP.joinpath(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise engine.EngineError(
                "Another check is running: wait until it has ended."
            ) from error
        engine.remove_everything()  # what a killed check left
        if given.prepare or not prepare.is_prepared():
            prepare.prepare()
        if not lesson:
            return 0
        print(f"{lesson.title}: {'the solution' if given.solution else 'your files'}", flush=True)
        try:
            folder = Path(tempfile.mkdtemp(prefix=".check-", dir=WORKSHOP))
            solved, figures = check(lesson, lesson.solution if given.solution else [], folder)
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            engine.remove_everything()
        if given.figures:
            given.figures.write_text(json.dumps(figures), encoding="utf-8")
        report(lesson, figures, is_solution=bool(given.solution), solved=solved)
        return 0 if solved else 1


if __name__ == "__main__":
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(main())
    except (engine.EngineError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
