"""Generated answers: valid answers create a working project, and invalid ones write nothing.

`make test ARGS="-k answer --hypothesis-profile=long"` tries 200 times as many.
"""

import json
import os
import subprocess
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from copier import run_copy
from copier.errors import UserMessageError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extensions.answers import APP_NAME, FLAGS
from tests.support.answers import any_text, valid_answers
from tests.support.poetry import poetry_check
from tests.support.projects import PARSERS, Environment, in_environment, texts
from tests.support.template import CHOICES, HAZARDS, QUESTIONS
from tools.locks import RESERVED_NAMES

# --- valid answers ---------------------------------------------------------------------------------------------------


def render(snapshot: Path, folder: Path, answers: dict[str, Any]) -> dict[str, str]:
    """Render a project with Copier itself, and return its texts."""
    run_copy(str(snapshot), folder, data=answers, defaults=True, unsafe=True, quiet=True)
    return texts(folder)


def faults(tool: tuple[str, ...], project: Path, variables: dict[str, str]) -> str:
    """Return the output of a linter if it fails, or an empty string."""
    done = subprocess.run(
        tool, cwd=project, env=os.environ | variables, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr if done.returncode else ""


LINTERS = [
    ("ruff", "check", "--no-cache", "."),
    ("ruff", "format", "--no-cache", "--diff", "."),
    ("hadolint", "Dockerfile"),
    ("sh", "-n", "entrypoint.sh"),
    ("make", "--dry-run", "help"),
]


@pytest.fixture(scope="module")
def tools(environment: Environment) -> dict[str, str]:
    """Return the variables that put a project's own tools first on the PATH."""
    return in_environment(environment("fastapi", "uvicorn"))


def check_compose(text: str) -> None:
    """Check that image names are strings, because YAML reads `no` as false, and that container ports are unique."""
    for service in yaml.safe_load(text)["services"].values():
        assert isinstance(service.get("image", ""), str)
        inside = [port.rpartition(":")[2] for port in service.get("ports", [])]
        assert len(inside) == len(set(inside))


@given(answers=valid_answers)
@example(answers={"app_name": "no", "port": 5679, "include_kubernetes": True})
@example(answers={"app_name": "x" * 64, "app_description": HAZARDS + "\n", "framework": "flask", "server": "granian"})
@example(
    answers={"app_name": "-".join(["long"] * 12) + "-name", "include_workshop": True, "include_devcontainer": True}
)
@settings(max_examples=settings().max_examples // 5)
def test_valid_answers_make_a_sound_project(snapshot: Path, tools: dict[str, str], answers: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        rendered = render(snapshot, project, answers)
        for name, text in rendered.items():
            PARSERS.get(Path(name).suffix, str)(text)
        check_compose(rendered["docker-compose.yml"])
        check_compose(rendered["docker-compose.override.yml"])
        assert len(tomllib.loads(rendered["pyproject.toml"])["project"]["description"].splitlines()) <= 1
        recorded = yaml.safe_load(rendered[".copier-answers.yml"])
        assert {question: recorded[question] for question in answers} == answers
        assert poetry_check(project) == ""
        for linter in LINTERS:
            assert faults(linter, project, tools) == "", linter
        assert render(snapshot, Path(folder) / "again", answers) == rendered


# --- answers that break a rule ---------------------------------------------------------------------------------------

no_scalars = (
    st.none() | st.lists(st.integers(), max_size=2) | st.dictionaries(st.text(max_size=3), st.none(), max_size=1)
)
words = st.text(max_size=30)
is_number = st.integers() | st.floats(allow_nan=False)
reserved = st.sampled_from(json.loads(RESERVED_NAMES.read_text())).map(lambda name: name.replace("_", "-"))


def outside(first: int, last: int) -> st.SearchStrategy[Any]:
    """Return numbers outside a range, as numbers and as text, and other text."""
    numbers = st.integers(max_value=first - 1) | st.integers(min_value=last + 1)
    return numbers | numbers.map(str) | words.filter(lambda text: not text.isdecimal()) | st.floats()


def with_one_of(characters: str) -> st.SearchStrategy[str]:
    """Return texts that contain one of the characters."""
    return st.builds("{}{}{}".format, st.text(any_text), st.sampled_from(characters), st.text(any_text))


ALL_CHOICES = {choice for choices in CHOICES.values() for choice in choices}
CONTROL_CHARACTERS = "".join(chr(code) for code in (*range(9), *range(11, 32), *range(127, 160), 0x2028, 0x2029))
INVALID: dict[str, st.SearchStrategy[Any]] = {
    "app_name": words.filter(lambda name: not APP_NAME.fullmatch(name))
    | st.from_regex(APP_NAME, fullmatch=True).map(lambda name: name + "-more" * 13)
    | reserved.filter(lambda name: APP_NAME.fullmatch(name) is not None),
    "app_description": with_one_of(CONTROL_CHARACTERS)
    | st.text(any_text, min_size=1, max_size=9).map(lambda text: text * 513),
    "author_name": with_one_of(f',<>"@\t\n{CONTROL_CHARACTERS}'),
    "author_email": st.text(any_text, min_size=1).filter(lambda text: "@" not in text)
    | st.builds("{}@{}@{}".format, words, words, words)
    | with_one_of(" <>,\n").map("a@{}".format)
    | st.sampled_from(["a@b", ".a@b.c", "a.@b.c", "a..b@c.d", "a@.b.c", "a@b..c", "a@b.c."]),
    "poetry_version": st.sampled_from(["1.8.5", "2.2.9", "2.5", "3.0.0", "2.5.1rc1", "02.5.1", "latest", ""])
    | is_number,
    "port": outside(1024, 65535),
    "user_uid": outside(1, 2**31 - 1),
    "user_gid": outside(1, 2**31 - 1),
    **{question: words.filter(lambda word: word not in ALL_CHOICES) for question in CHOICES},
    **{
        question: words.filter(lambda word: word.lower() not in FLAGS)
        for question in ("include_devcontainer", "include_kubernetes", "include_workshop")
    },
}
invalid_answers = st.sampled_from(sorted(INVALID)).flatmap(
    lambda question: st.tuples(st.just(question), INVALID[question] | no_scalars)
)


def test_every_question_has_answers_that_break_its_rule() -> None:
    assert set(INVALID) == set(QUESTIONS)


@given(invalid=invalid_answers)
def test_invalid_answer_is_refused_in_one_sentence_and_writes_nothing(snapshot: Path, invalid: tuple[str, Any]) -> None:
    question, answer = invalid
    with TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        with pytest.raises(UserMessageError, match=rf"\A{question} must [^\n]+\.\Z"):
            run_copy(str(snapshot), project, data={question: answer}, defaults=True, unsafe=True, quiet=True)
        assert list(Path(folder).iterdir()) == []
