"""Measure the lessons of the workshop, and write the figures that the pages show and the checks compare with.

`make workshop-figures` runs this. Nothing else should run on the machine meanwhile. It takes about 20 minutes.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.locks import ROOT, render
from tools.questionnaire import choices

WORKSHOP = ROOT / "template" / "{% if include_workshop %}workshop{% endif %}"
REFERENCE = WORKSHOP / "reference.json"
Figures = dict[str, float]


def measure(project: Path, lesson: str, *options: str) -> Figures:
    """Check the files of a lesson, or those of its solution, and return the measurements.

    Args:
        project: A new project.
        lesson: The number of the lesson.
        options: `--solution`, or nothing.

    Raises:
        SystemExit: The check ended with an error.
    """
    file = project / "figures.json"
    command = [sys.executable, "workshop/check", lesson, *options, f"--figures={file}"]
    subprocess.run(command, cwd=project, check=False)  # a missed goal is a failure too
    if not file.exists():
        raise SystemExit(f"Lesson {lesson} was not measured.")
    figures: Figures = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    return {name: round(value, 1) for name, value in figures.items()}


def main() -> None:
    """Measure each lesson with each framework, from the start and with the solution."""
    reference: dict[str, dict[str, dict[str, Figures]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for framework in choices()["framework"]:
            project = render(Path(folder) / framework, framework=framework, include_workshop=True)
            subprocess.run([sys.executable, "workshop/check", "--prepare"], cwd=project, check=True)
            reference[framework] = {
                lesson.name: {
                    "start": measure(project, lesson.name[:2]),
                    "solution": measure(project, lesson.name[:2], "--solution"),
                }
                for lesson in sorted(WORKSHOP.glob("[01][0-9]-*"))
            }
    REFERENCE.write_text(json.dumps(reference, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
