"""The template renders quickly. The best of a few runs counts, because other tests run at the same time."""

import time
from pathlib import Path

from tests.commands import ROOT, check_run
from tests.conftest import DEFAULTS, QUESTIONS


def test_copy_takes_a_second_and_a_half_at_most(tmp_path: Path) -> None:
    answers = {name: question["default"] for name, question in QUESTIONS.items()}
    answers |= {"app_name": "my-service", "server": DEFAULTS[answers["framework"]]}
    given = [f"--data={name}={answer}" for name, answer in answers.items()]
    command = ("copier", "copy", "--trust", "--quiet", "--vcs-ref=HEAD", *given, str(ROOT))
    taken = []
    for number in range(5):
        start = time.monotonic()
        check_run(*command, str(tmp_path / str(number)), cwd=ROOT)
        taken.append(time.monotonic() - start)
    assert min(taken) <= 1.5, taken


def test_new_takes_two_seconds_and_a_half_at_most(tmp_path: Path) -> None:
    check_run("make", "setup", cwd=ROOT)
    taken = []
    for number in range(3):
        start = time.monotonic()
        check_run("make", "new", f"DEST={tmp_path / str(number)}", "DATA=framework=flask", cwd=ROOT)
        taken.append(time.monotonic() - start)
    assert min(taken) <= 2.5, taken
