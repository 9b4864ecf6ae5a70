"""The benchmark of the workshop without Docker: its arguments, its types and its list of packages."""

import sys

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.matrix import slow
from tests.support.projects import Render
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
    folder = render(include_workshop=True) / "workshop"
    check_run(sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", "bench.py", cwd=folder)


def test_packages_of_growth_are_enough() -> None:
    names = (ROOT / "template" / "{% if include_workshop %}workshop{% endif %}" / "packages.txt").read_text().split()
    assert len(set(names)) == len(names) == 120
