"""A learner follows the page of each lesson, from the start to the solution."""

from collections.abc import Callable

import pytest

from tests.support.lessons import LESSONS, Learner
from tests.support.matrix import in_every_run

FRAMEWORKS = ("fastapi", "flask")
IN_EVERY_RUN = [("10", "fastapi")]
# A check takes at most 60 s on an idle machine with two cores. Tests run beside others.
SECONDS = 180
# The goals that the files at the start of each lesson miss, and a part of the message.
STARTS = {
    "00": ({"serves"}, "Serve on 0.0.0.0."),
    "01": ({"has_no_development_tools", "has_no_cache"}, "Install only the main group."),
    "02": ({"leaves_out_private_files", "test_edit_installs_nothing"}, "A layer contains .env, .git, .venv."),
    "03": ({"serves"}, "This release of Poetry no longer has this command."),
    "04": ({"source_edit_installs_nothing"}, "Install the dependencies before you copy the source."),
    "05": ({"has_no_build_tools"}, "The image has poetry"),
    "06": ({"new_dependency_is_downloaded_alone"}, "Keep the downloads in a cache mount."),
    "07": ({"version_bump_installs_nothing"}, "the locked packages, not pyproject.toml"),
    "08": ({"is_not_root", "files_belong_to_you", "code_is_not_writable"}, "belongs to user 0, not to you"),
    "09": ({"stops_cleanly", "runs_read_only", "notices_a_hang"}, "SIGTERM goes to process 1, a shell"),
    "10": ({"password_is_nowhere"}, "/root/.netrc"),
    "11": ({"second_job_installs_nothing"}, "Keep the cache of the build in the registry."),
    "12": (
        {
            "has_no_build_tools",
            "version_bump_installs_nothing",
            "is_not_root",
            "code_is_not_writable",
            "notices_a_hang",
        },
        "The image has uv",
    ),
}


def test_each_lesson_has_a_start() -> None:
    assert list(STARTS) == LESSONS


@pytest.mark.parametrize(
    ("lesson", "framework"), in_every_run(IN_EVERY_RUN, [(lesson, name) for lesson in LESSONS for name in FRAMEWORKS])
)
def test_page_leads_from_the_start_to_the_solution(
    lesson: str, framework: str, learner_of: Callable[[str], Learner]
) -> None:
    learner = learner_of(framework)
    learner.follow(lesson)
    assert not learner.is_solved(lesson)
    start, *_ = learner.checks[f"LESSON={lesson}"]
    missed, reason = STARTS[lesson]
    assert start.missed == missed, start.output
    assert reason in start.output
    assert learner.checks[f"LESSON={lesson} SOLUTION=1"][-1].solved
    learner.solve(lesson)
    own = learner.check(lesson)
    assert own.solved, own.output
    assert learner.is_solved(lesson)
    assert {name: checks for name, checks in learner.checks.items() if checks[-1].seconds > SECONDS} == {}
    learner.restore()
    assert learner.left_behind() == []
