"""The workshop without Docker: its benchmark, and the faults that its last lesson plants."""

import runpy
import sys
from collections import Counter

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.matrix import slow
from tests.support.projects import Render
from tests.support.template import STACKS, TECHNIQUES
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


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_last_lesson_plants_four_faults(framework: str, server: str, render: Render) -> None:
    project = render(framework=framework, server=server, include_workshop=True)
    own, planted = (
        Counter((project / name).read_text().splitlines())
        for name in ("Dockerfile", "workshop/12-this-project/Dockerfile")
    )
    assert {line.split()[0] for line in own - planted} == {"HEALTHCHECK", "CMD", "ARG", "USER"}
    assert [*(planted - own)] == ["COPY pyproject.toml ./", "COPY --from=uv /usr/local/bin/uv /usr/local/bin/"]
