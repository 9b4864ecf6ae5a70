"""The terminal output of a run of the tests: what runs, what is skipped, and how to run a failed test again."""

import re
import shlex
from pathlib import Path

import pytest

from tests.support.commands import run

FAILING = """
import pytest

from tests.support.commands import check_run, fail_run

@pytest.mark.parametrize("case", ["a b", "$HOME"])
def test_command(case, tmp_path):
    check_run("sh", "-c", "echo printed; exit 3", cwd=tmp_path, VARIABLE="of two words")

@pytest.mark.slow
def test_slow(tmp_path):
    fail_run("true", cwd=tmp_path)
"""
NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent", "REQUIRE_DOCKER": ""}


PLANTED = "tests/unit/test_planted.py"


@pytest.fixture
def checkout(template_clone: Path) -> Path:
    """Return a copy of the checkout with tests that fail."""
    (template_clone / PLANTED).write_text(FAILING)
    (template_clone / "tests" / "docker" / "test_planted.py").write_text("def test_planted():\n    assert False\n")
    return template_clone


def section(output: str, test: str) -> str:
    """Return the report of a failed test, without the heading."""
    (found,) = re.findall(rf"^_+ {re.escape(test)} _+\n(.*?)(?=\n[_=]{{9}})", output, re.M | re.DOTALL)
    return str(found)


@pytest.mark.parametrize("processes", ["-n0", "-n2"])
def test_report_of_a_failed_test_ends_with_the_command_that_runs_it(processes: str, checkout: Path) -> None:
    output = run("pytest", processes, "-m", "", PLANTED, cwd=checkout, **NO_ENGINE).stdout
    report = section(output, "test_command[a b]")
    assert report.splitlines()[-1] == f"""make test ARGS="-n0 '{PLANTED}::test_command[a b]'\""""
    assert section(output, "test_slow").splitlines()[-1] == f'make test ARGS="-n0 -m slow {PLANTED}::test_slow"'
    again = section(output, "test_command[$HOME]").splitlines()[-1]
    options = shlex.split(shlex.split(again)[-1].partition("=")[2].replace("$$", "$"))
    assert options == ["-n0", f"{PLANTED}::test_command[$HOME]"]


def test_report_of_a_failed_command_shows_how_to_run_it_by_hand(checkout: Path, tmp_path: Path) -> None:
    options = ("-n0", f"--basetemp={tmp_path / 'temporary'}", f"{PLANTED}::test_command[a b]")
    report = section(run("pytest", *options, cwd=checkout, **NO_ENGINE).stdout, "test_command[a b]")
    (line,) = re.findall(r"AssertionError: Exit code 3: (.*)", report)
    assert line.endswith(" && VARIABLE='of two words' sh -c 'echo printed; exit 3'")
    result = run("sh", "-c", line, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (3, "printed\n")


def test_run_without_an_engine_skips_the_docker_tests_and_says_why(checkout: Path) -> None:
    result = run("pytest", "-n0", "tests/docker/test_planted.py", cwd=checkout, **NO_ENGINE)
    header, _, rest = result.stdout.partition("collected")
    assert "No Docker engine responds: the tests in tests/docker are skipped; start Docker to run them" in header
    assert "make test ARGS='-m slow'" in header
    assert result.returncode == 0, result.stdout
    assert re.search(r"SKIPPED \[1\] .*no Docker engine responds", rest)


def test_run_that_requires_docker_ends_without_an_engine(checkout: Path) -> None:
    result = run("pytest", PLANTED, cwd=checkout, **NO_ENGINE | {"REQUIRE_DOCKER": "1"})
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert result.stdout == "ERROR: REQUIRE_DOCKER is set, and no Docker engine responds: start Docker.\n\n"
