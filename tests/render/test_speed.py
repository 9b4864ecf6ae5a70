"""The template renders quickly. The limits are multiples of Copier's start-up time, because machines differ."""

import resource
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run
from tools.questionnaire import default_answers


def processor_seconds(*command: str) -> float:
    """Run a command, and return the processor time of it and of the processes that it waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    check_run(*command, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture
def start_of_copier() -> float:
    """Return the processor time of `copier --version`: about 0.4 s, most of them imports."""
    return min(processor_seconds("copier", "--version") for _ in range(5))


@pytest.mark.slow
def test_copy_takes_no_longer_than_four_starts_of_copier(start_of_copier: float, tmp_path: Path) -> None:
    given = [f"--data={name}={answer}" for name, answer in default_answers().items()]
    command = ("copier", "copy", "--trust", "--quiet", "--vcs-ref=HEAD", *given, str(ROOT))
    taken = [processor_seconds(*command, str(tmp_path / str(number))) for number in range(5)]
    assert min(taken) <= 4 * start_of_copier, taken


@pytest.mark.slow
def test_new_takes_no_longer_than_six_starts_of_copier(start_of_copier: float, tmp_path: Path) -> None:
    check_run("make", "setup", cwd=ROOT)
    command = ("make", "new", "DATA=framework=flask")
    taken = [processor_seconds(*command, f"DEST={tmp_path / str(number)}") for number in range(3)]
    assert min(taken) <= 6 * start_of_copier, taken
