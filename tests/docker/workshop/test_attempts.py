"""Other solutions of the lessons, which pass, and attempts that miss a goal."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.lessons import LESSONS, Learner

pytestmark = pytest.mark.slow

FRAMEWORKS = ("fastapi", "flask")
ALTERNATIVES = Path(__file__).parent / "alternatives"
WRONG = Path(__file__).parent / "wrong"
# The goals that each attempt misses.
MISSED = {
    "01/removed-later": {"has_no_cache"},
    "02/removed-later": {"leaves_out_private_files", "test_edit_installs_nothing"},
    "03/no-lock": {"has_the_locked_versions"},
    "04/stale": {"source_edit_installs_nothing"},
    "06/layer": {"new_dependency_is_downloaded_alone", "has_no_cache"},
    "08/name": {"is_not_root", "code_is_not_writable"},
    "09/always-healthy": {"notices_a_hang"},
    "10/copied": {"password_is_nowhere"},
    "11/folder": {"second_job_installs_nothing"},
}


def names(folder: Path) -> list[str]:
    """Return the attempts in a folder: the number of the lesson and a name."""
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*"))


def test_each_lesson_has_another_solution() -> None:
    assert sorted({name.partition("/")[0] for name in names(ALTERNATIVES)}) == LESSONS


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", names(ALTERNATIVES))
def test_another_solution_passes(name: str, framework: str, learner_of: Callable[[str], Learner]) -> None:
    learner = learner_of(framework)
    lesson, _, _ = name.partition("/")
    learner.put(lesson, (ALTERNATIVES / name).iterdir())
    checked = learner.check(lesson)
    assert checked.solved, checked.output


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_wheel_passes(framework: str, learner_of: Callable[[str], Learner]) -> None:
    learner = learner_of(framework)
    folder = learner.lesson("05")
    (folder / "Dockerfile").write_text((folder / "solution" / "wheel.Dockerfile").read_text())
    checked = learner.check("05")
    assert checked.solved, checked.output


def test_each_wrong_attempt_has_its_goals() -> None:
    assert names(WRONG) == sorted(MISSED)


@pytest.mark.parametrize("name", names(WRONG))
def test_wrong_attempt_misses_its_goals(name: str, learner: Learner) -> None:
    lesson, _, _ = name.partition("/")
    learner.put(lesson, (WRONG / name).iterdir())
    checked = learner.check(lesson)
    assert checked.missed == MISSED[name], checked.output
    assert not checked.solved
    assert not learner.is_solved(lesson)
