"""The benchmark of the workshop without Docker: its arguments, its types, its techniques and its list of packages."""

import runpy
import sys

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.matrix import slow
from tests.support.projects import Render
from tests.support.template import TECHNIQUES
from tests.support.workshop import bench


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["--repeat=0"], "--repeat must be at least 1"), *slow((["--only=09-magic"], "invalid choice: '09-magic'"))],
)
def test_bench_refuses_bad_arguments(arguments: list[str], reason: str, render: Render) -> None:
    result = run(*bench(render(include_workshop=True), *arguments), cwd=ROOT)
    assert result.returncode == 2
    assert reason in result.stdout.splitlines()[-1]


def test_bench_is_typed(render: Render) -> None:
    folder = render(include_workshop=True) / "workshop" / "bench"
    check_run(sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", "bench.py", cwd=folder)


def test_bench_measures_the_solutions_of_the_lessons(render: Render) -> None:
    project = render(include_workshop=True)
    techniques = runpy.run_path(str(project / "workshop" / "bench" / "project.py"))["techniques"]
    found = [(name, str(path)) for name, path in techniques(project).items()]
    assert found == list(TECHNIQUES.items())
    assert [path for _, path in found if not (project / path).exists()] == []


def test_packages_of_growth_are_enough(render: Render) -> None:
    names = (render(include_workshop=True) / "workshop" / "bench" / "packages.txt").read_text().split()
    assert len(set(names)) == len(names) == 120
