"""The questionnaire: prompts, answers given in advance, error messages, and `make new`."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pexpect
import pytest
import yaml
from copier import run_copy
from copier.errors import UserMessageError

from tests.support import updates
from tests.support.commands import ROOT, check_run, commit, run, time_limit
from tests.support.matrix import in_every_run, slow
from tests.support.projects import Render, check_answers
from tests.support.template import CHOICES, COPIER_YML, DEFAULTS, PAIRS, QUESTIONS, STACKS
from tools.questionnaire import default_answers

REFUSED = [
    *[("app_name", name) for name in ("My App", "app_", "flask", "json", "class", "1st", "", "a" * 65)],
    *[("app_description", text) for text in ("Jos\udce9", "one\x85two", "x" * 513)],
    ("python_version", "2.7"),
    *[("poetry_version", version) for version in ("1.8.5", "latest", "2")],
    *[("port", port) for port in ("0", "80", "5678", "70000", "abc")],
    *[("user_uid", uid) for uid in ("0", "-1", str(2**31), "me")],
    *[("user_gid", gid) for gid in ("0", "-1", str(2**31), "staff")],
    ("framework", "django"),
    ("server", "uwsgi"),
    ("ci", "jenkins"),
    ("include_devcontainer", "perhaps"),
    ("include_kubernetes", "maybe"),
    ("include_workshop", "maybe"),
    ("author_email", "nobody"),
    ("author_name", "Lovelace, Ada"),
]
# The unit tests of the rules and the tests with generated answers cover many more.
REFUSED_IN_EVERY_RUN = [("app_name", "My App"), ("port", "80"), ("framework", "django")]


class Copy(Protocol):
    """Copies the checkout without questions. Copier runs in the test process, which takes half as long."""

    def __call__(self, destination: Path, answers: dict[str, Any] | None = None, overwrite: bool = False) -> str:
        """Return the error message that the command line would show, or an empty string after a success."""


@pytest.fixture
def copy(snapshot: Path) -> Copy:
    """Return the function that copies."""

    def copy_snapshot(destination: Path, answers: dict[str, Any] | None = None, overwrite: bool = False) -> str:
        try:
            run_copy(str(snapshot), destination, answers, defaults=True, overwrite=overwrite, quiet=True, unsafe=True)
        except UserMessageError as error:
            return str(error)
        return ""

    return copy_snapshot


def test_questions_stand_in_the_agreed_order() -> None:
    assert list(QUESTIONS) == [
        "app_name",
        "app_description",
        "author_name",
        "author_email",
        "framework",
        "server",
        "python_version",
        "poetry_version",
        "port",
        "user_uid",
        "user_gid",
        "ci",
        "include_devcontainer",
        "include_kubernetes",
        "include_workshop",
    ]


def test_questions_have_one_line_of_help_each() -> None:
    for name, question in QUESTIONS.items():
        assert re.fullmatch(r"[^\n]{20,120}", question["help"]), name


def test_questions_offer_the_choices_that_are_checked() -> None:
    offered = {name: question["choices"] for name, question in QUESTIONS.items() if "choices" in question}
    servers: dict[str, list[str]] = COPIER_YML["servers"]["default"]
    assert list(servers) == CHOICES["framework"]
    assert {server for of_framework in servers.values() for server in of_framework} == set(CHOICES["server"])
    wanted = {name: f"{{{{ choices.{name} | to_json }}}}" for name in CHOICES}
    assert offered == wanted | {"server": "{{ servers[framework] | to_json }}"}
    assert all("choices" in question or "validator" in question for question in QUESTIONS.values())


def test_settings_are_strict_and_run_no_tasks() -> None:
    assert COPIER_YML["_envops"] == {"undefined": "jinja2.StrictUndefined"}
    assert "_tasks" not in COPIER_YML


@pytest.mark.parametrize(("question", "answer"), in_every_run(REFUSED_IN_EVERY_RUN, REFUSED))
def test_refused_answer_ends_in_one_sentence_and_writes_nothing(
    question: str, answer: str, copy: Copy, tmp_path: Path
) -> None:
    message = copy(tmp_path / "project", {question: answer})
    assert re.fullmatch(rf"{question} must [^\n]+\.", message), message
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("given", ["--data=port=80", "--data-file=answers.yml"])
def test_refusal_on_the_command_line_is_one_line(given: str, snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "answers.yml").write_text("port: '80'\n")
    result = run("copier", "copy", "--trust", "--defaults", given, str(snapshot), "project", cwd=tmp_path)
    assert result.returncode == 1
    message = "port must be a whole number from 1024 to 65535, not '80'."
    assert re.sub(r"\x1b\[[0-9;]*m", "", result.stdout).splitlines() == [message]
    assert [path.name for path in tmp_path.iterdir()] == ["answers.yml"]


@pytest.mark.parametrize(
    ("given", "framework", "server"),
    [
        ({"server": "gunicorn"}, "fastapi", "gunicorn"),
        ({"framework": "fastapi", "server": "gunicorn"}, "fastapi", "gunicorn"),
        ({"framework": "flask", "server": "uvicorn"}, "flask", "uvicorn"),
        ({"server": "uvicorn", "framework": "flask"}, "flask", "uvicorn"),
    ],
)
def test_server_of_the_other_framework_is_refused(
    given: dict[str, str], framework: str, server: str, copy: Copy, tmp_path: Path
) -> None:
    servers = ", ".join(COPIER_YML["servers"]["default"][framework])
    message = f"server must be one of {servers} with framework {framework}, not {server!r}."
    assert copy(tmp_path / "project", given) == message
    assert not (tmp_path / "project").exists()


def recorded(project: Path) -> dict[str, object]:
    """Return the answers that a project has recorded."""
    answers: dict[str, object] = yaml.safe_load((project / ".copier-answers.yml").read_text())
    return answers


@pytest.mark.parametrize(("framework", "server"), in_every_run(PAIRS, STACKS))
def test_framework_alone_gets_its_default_server_and_any_of_its_servers(
    framework: str, server: str, copy: Copy, tmp_path: Path
) -> None:
    assert copy(tmp_path / "default", {"framework": framework}) == ""
    assert recorded(tmp_path / "default")["server"] == DEFAULTS[framework]
    assert copy(tmp_path / "both", {"framework": framework, "server": server}) == ""
    assert recorded(tmp_path / "both")["server"] == server


@pytest.fixture
def made_project(released: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a committed project of a released template."""

    def make_project(**answers: str) -> Path:
        project = updates.copy(released, "1.0.0", tmp_path / "project", **answers)
        commit(project, "start from the template")
        return project

    return make_project


def test_update_to_a_framework_that_the_server_does_not_run_is_refused(made_project: Callable[..., Path]) -> None:
    project = made_project(framework="fastapi")
    message = "server must be one of gunicorn, granian with framework flask, not 'uvicorn'."
    assert updates.refusal(project, framework="flask") == message


@pytest.mark.slow
def test_update_to_the_other_framework_keeps_a_server_that_runs_both(made_project: Callable[..., Path]) -> None:
    project = made_project(framework="fastapi", server="granian")
    updates.update(project, framework="flask")
    assert (recorded(project)["framework"], recorded(project)["server"]) == ("flask", "granian")


@pytest.mark.parametrize(
    "defaults", ["framework: flask\n  server: gunicorn", *slow(("framework: flask",), ("server: gunicorn",))]
)
def test_defaults_of_copier_do_not_replace_the_stack_of_a_project(
    defaults: str, made_project: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = made_project(framework="fastapi")
    (tmp_path / "settings.yml").write_text(f"defaults:\n  {defaults}\n")
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(tmp_path / "settings.yml"))
    updates.update(project, port="9000")
    assert (recorded(project)["framework"], recorded(project)["server"]) == ("fastapi", "uvicorn")


@pytest.mark.slow  # test_update.py tests another removed choice
def test_framework_that_is_gone_is_asked_for(released: Path, made_project: Callable[..., Path]) -> None:
    project = made_project(framework="flask", server="granian")
    facts = released / "data" / "facts.yml"
    text = facts.read_text()
    facts.write_text(text.replace("[flask, fastapi]", "[fastapi]").replace("    flask: [gunicorn, granian]\n", ""))
    commit(released, "without Flask", tag="1.1.0")
    message = updates.refusal(project)
    assert message.startswith("framework must be one of fastapi, not 'flask'"), message
    updates.update(project, framework="fastapi")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("app_nmae", "did you mean app_name?"),
        ("python", "did you mean python_version?"),
        ("package_name", "did you mean app_name?"),
        ("choices", f"the questions are {', '.join(sorted([*QUESTIONS, 'app_import']))}."),
        ("destination", "did you mean app_description?"),
        ("check", f"the questions are {', '.join(sorted([*QUESTIONS, 'app_import']))}."),
        ("pins", f"the questions are {', '.join(sorted([*QUESTIONS, 'app_import']))}."),
    ],
)
def test_answer_to_no_question_is_refused(name: str, hint: str, copy: Copy, tmp_path: Path) -> None:
    """Use a misspelled name, and names of computed values."""
    assert copy(tmp_path / "project", {name: "x"}) == f"'{name}' is not a question of this template: {hint}"
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize(
    ("default", "message"),
    [
        ("port: 80", "port must be a whole number from 1024 to 65535, not 80: Copier's settings say so."),
        (
            "package_name: other",
            "package_name must not have a default in Copier's settings: it follows from the answers.",
        ),
        (
            "destination: Europe",
            "destination must not have a default in Copier's settings: it follows from the answers.",
        ),
        ("choices: 5", "choices must not have a default in Copier's settings: it follows from the answers."),
        (
            "author_name: '{{ x }'",
            "author_name must be valid in Jinja (unexpected '}'): Copier's settings say so.",
        ),
    ],
)
def test_bad_default_in_the_settings_of_copier_is_refused(
    default: str, message: str, copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.yml").write_text(f"defaults:\n  {default}\n  author: of another template\n")
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(tmp_path / "settings.yml"))
    assert copy(tmp_path / "project") == message
    assert not (tmp_path / "project").exists()
    question, _, answer = default.partition(": ")
    if question in QUESTIONS:
        good = {"port": "8000", "author_name": ""}[question]
        assert answer != good
        assert copy(tmp_path / "project", {question: good}) == ""


def test_files_in_the_way_of_a_new_project_stop_what_must_not_ask(copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# From GitHub\n")
    (tmp_path / "LICENSE").touch()
    message = "README.md must not exist yet: choose another folder, or add --overwrite to replace them."
    assert copy(tmp_path) == message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LICENSE", "README.md"]
    assert copy(tmp_path, overwrite=True) == ""
    assert "# my-service" in (tmp_path / "README.md").read_text()


def test_fifo_in_the_way_stops_before_anything_is_written(copy: Copy, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "README.md")
    with time_limit(60):
        message = copy(tmp_path, overwrite=True)
    assert message == "README.md must be a file, and is not: move it away."
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_lost_answers_are_asked_back(copy: Copy, project: Render) -> None:
    folder = project()
    (folder / ".copier-answers.yml").unlink()
    message = copy(folder, overwrite=True)
    assert message.startswith(".copier-answers.yml must hold the answers of this project, and is missing: restore it")


def test_defaults_alone_make_a_project(tmp_path: Path) -> None:
    command = ("copier", "copy", "--trust", "--defaults", "--quiet", "--vcs-ref=HEAD", str(ROOT), "project")
    check_run(*command, cwd=tmp_path)
    expected = default_answers() | {"own_files": [], "own_code": {}}
    answers = {name: value for name, value in recorded(tmp_path / "project").items() if not name.startswith("_")}
    assert answers == expected


def test_fixtures_refuse_answers_that_are_no_question() -> None:
    check_answers({"framework": "flask"})
    with pytest.raises(KeyError, match="app_nmae, package_name"):
        check_answers({"app_nmae": "x", "package_name": "y", "port": 8000})


def new(destination: Path | str, **variables: str) -> tuple[int, str]:
    """Run `make new`. Return its exit code and its last line, without the lines of make itself."""
    assignments = [f"{name}={value}" for name, value in variables.items()]
    result = run("make", "--silent", "new", f"DEST={destination}", *assignments, cwd=ROOT)
    lines = [line for line in result.stdout.splitlines() if line.strip() and not line.startswith("make")]
    return result.returncode, lines[-1]


def test_make_new_takes_answers_from_data(tmp_path: Path) -> None:
    data = "app_name=my-shop framework=flask app_description='Sells \"$things\"'"
    code, line = new(tmp_path / "shop", DATA=data)
    assert code == 0, line
    recorded = yaml.safe_load((tmp_path / "shop" / ".copier-answers.yml").read_text())
    assert recorded["app_name"] == "my-shop"
    assert recorded["framework"] == "flask"
    assert recorded["app_description"] == 'Sells "$things"'
    assert recorded["port"] == QUESTIONS["port"]["default"]
    assert recorded["_src_path"] == str(ROOT), "an update must find the template from any folder"


def test_make_new_takes_any_folder(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s `my` "$HOME"'
    code, line = new(folder, DATA="port=9000")
    assert code == 0, line
    assert (folder / "Dockerfile").is_file()


def test_make_new_takes_answers_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "answers.yml").write_text("app_name: from-file\nport: 9000\n")
    code, line = new(tmp_path / "project", ANSWERS=str(tmp_path / "answers.yml"))
    assert code == 0, line
    recorded = yaml.safe_load((tmp_path / "project" / ".copier-answers.yml").read_text())
    assert (recorded["app_name"], recorded["port"]) == ("from-file", 9000)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"DATA": "app_nmae=x"}, "'app_nmae' is not a question of this template: did you mean app_name?"),
        ({"DATA": "package_name=x"}, "'package_name' is not a question of this template: did you mean app_name?"),
        ({"DATA": "port"}, "DATA must be written question=answer, with quotes around spaces, not 'port'."),
        ({"DATA": "author_name=O'Neill"}, "DATA has a quote or a backslash without its partner: author_name=O'Neill"),
        ({"DATA": "port=80"}, "port must be a whole number from 1024 to 65535, not '80'."),
        ({"ANSWERS": "no-such-file.yml"}, "no-such-file.yml is no YAML file that can be read: "),
    ],
)
def test_make_new_refuses_in_one_line(variables: dict[str, str], message: str, tmp_path: Path) -> None:
    code, line = new(tmp_path / "project", **variables)
    assert code != 0
    assert line.startswith(message)
    assert not (tmp_path / "project").exists()


def test_make_new_wants_a_new_folder(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    assert new(tmp_path)[1].endswith(" is there already: choose a folder that is new or empty.")
    assert new("")[1] == "Say where the project goes: make new DEST=../my-service."


def test_make_new_asks_and_asks_again_after_a_bad_answer(tmp_path: Path) -> None:
    child = pexpect.spawn(
        "make", ["new", f"DEST={tmp_path / 'asked'}"], cwd=ROOT, encoding="utf-8", timeout=30, dimensions=(40, 300)
    )
    child.expect("Name of the service")
    child.send("\x15My App\r")
    child.expect("try 'my-app'")
    child.send("\x15asked\r")
    for name in list(QUESTIONS)[1:]:
        child.expect(re.escape(QUESTIONS[name]["help"][:20]))
        child.send("\r")
    child.expect("asked is ready")
    child.expect(pexpect.EOF)
    assert 'name = "asked"' in (tmp_path / "asked" / "pyproject.toml").read_text()


@pytest.mark.parametrize("framework", slow(*((name,) for name in CHOICES["framework"])))
def test_prompt_offers_the_servers_of_the_framework(framework: str, tmp_path: Path) -> None:
    command = ["copy", "--trust", "--vcs-ref=HEAD", f"--data=framework={framework}", str(ROOT), str(tmp_path / "p")]
    child = pexpect.spawn("copier", command, cwd=ROOT, encoding="utf-8", timeout=30, dimensions=(40, 300))
    shown = ""
    for name in QUESTIONS:
        if name == "framework":
            continue
        child.expect(re.escape(QUESTIONS[name]["help"][:20]))
        if name == "python_version":
            shown = child.before or ""
            break
        child.send("\r")
    child.close(force=True)
    assert [server for server in CHOICES["server"] if server in shown] == [
        server for server in CHOICES["server"] if (framework, server) in STACKS
    ]


def test_make_new_uses_the_checkout_and_not_its_newest_tag(template_clone: Path, tmp_path: Path) -> None:
    check_run("git", "tag", "1.0.0", cwd=template_clone)
    (template_clone / "template" / "only-in-the-checkout.txt").write_text("here\n")
    new_py = [sys.executable, "-m", "tools.new", f"--destination={tmp_path / 'project'}", "--data=port=9000"]
    output = check_run(*new_py, cwd=template_clone)
    assert (tmp_path / "project" / "only-in-the-checkout.txt").read_text() == "here\n"
    assert "has uncommitted changes" in output
