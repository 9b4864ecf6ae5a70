"""Checks that are interrupted or killed, and two checks at once."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pexpect
import pytest

from tests.support.commands import fail_run, run
from tests.support.lessons import Learner

pytestmark = pytest.mark.slow

# A lesson, what its check prints before it is interrupted, and the seconds from then on.
MOMENTS = [
    ("09", "the solution", 0.0),  # the index starts
    ("09", "the solution", 4.0),  # the build
    ("09", "and the service responds", 1.5),  # requests are in flight, or the container stops
    ("09", "exit code 0, and no request is lost", 2.0),  # the health check runs
    ("11", "the solution", 10.0),  # the machine starts, or its job builds
]
CHECK = (sys.executable, "workshop/check")


@contextmanager
def running(learner: Learner, lesson: str, *command: str) -> Iterator["pexpect.spawn[str]"]:
    """Start the check of a solution in a terminal."""
    program, *arguments = command or ("make", "workshop", f"LESSON={lesson}", "SOLUTION=1")
    check = pexpect.spawn(program, arguments, cwd=learner.folder, timeout=180, encoding="utf-8")
    try:
        yield check
    finally:
        check.close(force=True)


def wait(check: "pexpect.spawn[str]", text: str, seconds: float) -> None:
    """Wait until a check has printed a text, and then for some seconds."""
    check.expect_exact(text)
    assert check.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=seconds) == 1, check.before


@pytest.mark.parametrize(("lesson", "text", "seconds"), MOMENTS)
def test_ctrl_c_leaves_nothing_behind(lesson: str, text: str, seconds: float, learner: Learner) -> None:
    with running(learner, lesson) as check:
        wait(check, text, seconds)
        check.sendintr()
        check.expect(pexpect.EOF)
    assert "Traceback" not in str(check.before)
    assert check.exitstatus != 0
    assert learner.left_behind() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_leaves_nothing_behind(number: signal.Signals, learner: Learner) -> None:
    with running(learner, "09", *CHECK, "09", "--solution") as check:
        wait(check, "and the service responds", 1.5)
        check.kill(number)
        check.expect(pexpect.EOF)
    assert (check.exitstatus, "Traceback" in str(check.before)) == (130, False)
    assert learner.left_behind() == []


def test_next_check_removes_what_a_killed_one_left(learner: Learner) -> None:
    for lesson in ("09", "11"):
        with running(learner, lesson, *CHECK, lesson, "--solution") as check:
            wait(check, "the solution", 15)
            check.kill(signal.SIGKILL)
            check.expect(pexpect.EOF)
        (folder,) = learner.workshop.glob(".check-*")
        foreign = folder / "owned" / "by another user"
        foreign.parent.mkdir()
        foreign.touch()
        if os.getuid() == 0:
            os.chown(folder / "owned", 12345, 12345)
        assert learner.left_behind() != []
    assert learner.check("00", solution=True).solved
    assert learner.left_behind() == []


def test_second_check_at_once_is_refused(learner: Learner) -> None:
    with running(learner, "00") as check:
        check.expect_exact("the solution")
        output = fail_run(*CHECK, "01", cwd=learner.folder)
        assert output == "Another check is running: wait until it has ended.\n"
        assert run(*CHECK, cwd=learner.folder).returncode == 0, "the lessons are shown"
        check.expect(pexpect.EOF)
    assert check.exitstatus == 0
    assert learner.left_behind() == []
