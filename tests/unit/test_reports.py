"""The terminal output of a run of the tests: what runs, what is skipped, and how to run a failed test again."""

import re
import shlex
from pathlib import Path

import pytest

from tests.support.commands import run
from tests.support.projects import copy_checkout

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


DOCKER_TEST = "tests/docker/test_planted.py"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the checkout with tests that fail."""
    folder = tmp_path_factory.mktemp("checkout")
    copy_checkout(folder)
    (folder / PLANTED).write_text(FAILING)
    (folder / DOCKER_TEST).write_text("def test_planted():\n    assert False\n")
    return folder


@pytest.fixture(scope="module", params=["-n0", pytest.param("-n2", marks=pytest.mark.slow)])
def output(request: pytest.FixtureRequest, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the output of a run of the planted tests without an engine."""
    folder = f"--basetemp={tmp_path_factory.mktemp('base') / 'temporary'}"
    return run("pytest", request.param, folder, "-m", "", PLANTED, DOCKER_TEST, cwd=checkout, **NO_ENGINE).stdout


def report(output: str, test: str) -> str:
    """Return the report of a failed test, without the heading."""
    (found,) = re.findall(rf"^_+ {re.escape(test)} _+\n(.*?)(?=\n[_=]{{9}})", output, re.M | re.DOTALL)
    return str(found)


def test_report_of_a_failed_test_ends_with_the_command_that_runs_it(output: str) -> None:
    last = {test: report(output, test).splitlines()[-1] for test in ("test_command[a b]", "test_slow")}
    assert last == {
        "test_command[a b]": f"""make test ARGS="-n0 '{PLANTED}::test_command[a b]'\"""",
        "test_slow": f'make test ARGS="-n0 -m slow {PLANTED}::test_slow"',
    }
    quoted = shlex.split(report(output, "test_command[$HOME]").splitlines()[-1])[-1]
    options = shlex.split(quoted.removeprefix("ARGS=").replace("$$", "$"))
    assert options == ["-n0", f"{PLANTED}::test_command[$HOME]"]


def test_report_of_a_failed_command_shows_how_to_run_it_by_hand(output: str, tmp_path: Path) -> None:
    (line,) = re.findall(r"AssertionError: Exit code 3: (.*)", report(output, "test_command[a b]"))
    assert line.endswith(" && VARIABLE='of two words' sh -c 'echo printed; exit 3'")
    result = run("sh", "-c", line, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (3, "printed\n")


def test_run_without_an_engine_skips_the_docker_tests_and_says_why(output: str) -> None:
    header = output.partition("rootdir:")[0]
    assert "No Docker engine responds: the tests in tests/docker are skipped; start Docker to run them" in header
    assert re.search(r"SKIPPED \[1\] .*no Docker engine responds", output)


def test_run_that_requires_docker_ends_without_an_engine(checkout: Path) -> None:
    result = run("pytest", PLANTED, cwd=checkout, **NO_ENGINE | {"REQUIRE_DOCKER": "1"})
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert result.stdout == "ERROR: REQUIRE_DOCKER is set, and no Docker engine responds: start Docker.\n\n"
