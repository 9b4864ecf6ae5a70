"""The template itself keeps nobody waiting."""

import statistics
import time
from pathlib import Path

import pytest

from tests.commands import ROOT, check_run
from tests.conftest import QUESTIONS


@pytest.fixture
def seconds(tmp_path: Path) -> list[float]:
    """Return how many seconds each of five copies takes, with every question answered."""
    answers = {name: question["default"] for name, question in QUESTIONS.items()}
    given = [f"--data={name}={answer}" for name, answer in answers.items()]
    taken = []
    for number in range(5):
        start = time.monotonic()
        command = ("copier", "copy", "--trust", "--quiet", "--vcs-ref=HEAD", *given, str(ROOT), f"project-{number}")
        check_run(*command, cwd=tmp_path)
        taken.append(time.monotonic() - start)
    return taken


def test_copy_takes_a_second_and_a_half_at_most(seconds: list[float]) -> None:
    assert statistics.median(seconds) <= 1.5, seconds


def test_new_takes_two_seconds_and_a_half_at_most(tmp_path: Path) -> None:
    check_run("make", "setup", cwd=ROOT)
    taken = []
    for number in range(3):
        start = time.monotonic()
        check_run("make", "new", f"DEST={tmp_path / str(number)}", "DATA=framework=flask", cwd=ROOT)
        taken.append(time.monotonic() - start)
    assert statistics.median(taken) <= 2.5, taken
