"""The questionnaire as people meet it: prompts, answers given in advance, refusals, and `make new`."""

import re
import sys
from pathlib import Path

import pexpect
import pytest
import yaml

from tests.commands import ROOT, check_run, run
from tests.conftest import CHOICES, COPIER_YML, QUESTIONS, check_answers

REFUSED = [
    *[("app_name", name) for name in ("My App", "app_", "flask", "json", "class", "1st", "", "a" * 65)],
    ("app_description", "Jos\udce9"),
    ("python_version", "2.7"),
    *[("poetry_version", version) for version in ("1.8.5", "latest", "2")],
    *[("port", port) for port in ("0", "80", "5678", "70000", "abc")],
    *[("user_uid", uid) for uid in ("0", "-1", str(2**31), "me")],
    *[("user_gid", gid) for gid in ("0", "-1", str(2**31), "staff")],
    ("framework", "django"),
    ("server", "uwsgi"),
    ("ci", "jenkins"),
    ("include_devcontainer", "perhaps"),
    ("include_workshop", "maybe"),
    ("author_email", "nobody"),
    ("author_name", "Lovelace, Ada"),
]


def copy(destination: Path, *arguments: str) -> tuple[int, str]:
    """Run Copier itself on the checkout as it stands; return its exit code and what it printed of the answers."""
    result = run("copier", "copy", "--trust", "--vcs-ref=HEAD", *arguments, str(ROOT), str(destination), cwd=ROOT)
    noise = re.compile(r"No git tags found.*|.*DirtyLocalWarning.*|\s+warn\(|\x1b\[[0-9;]*m")
    lines = [noise.sub("", line) for line in result.stdout.splitlines()]
    return result.returncode, "\n".join(line for line in lines if line.strip())


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
        "include_workshop",
    ]


def test_questions_have_one_line_of_help_each() -> None:
    for name, question in QUESTIONS.items():
        assert re.fullmatch(r"[^\n]{20,120}", question["help"]), name


def test_questions_offer_the_choices_that_are_checked() -> None:
    assert {name: question["choices"] for name, question in QUESTIONS.items() if "choices" in question} == CHOICES
    assert all("choices" in question or "validator" in question for question in QUESTIONS.values())


def test_settings_are_strict_and_run_no_tasks() -> None:
    assert COPIER_YML["_envops"] == {"undefined": "jinja2.StrictUndefined"}
    assert "_tasks" not in COPIER_YML


@pytest.mark.parametrize(("question", "answer"), REFUSED)
def test_refused_answer_ends_in_one_sentence_and_writes_nothing(question: str, answer: str, tmp_path: Path) -> None:
    code, output = copy(tmp_path / "project", "--defaults", f"--data={question}={answer}")
    assert code == 1
    assert re.fullmatch(rf"{question} must [^\n]+\.", output), output
    assert not (tmp_path / "project").exists()


def test_refused_answer_in_a_data_file_is_refused_alike(tmp_path: Path) -> None:
    (tmp_path / "answers.yml").write_text("port: 80\n")
    code, output = copy(tmp_path / "project", "--defaults", f"--data-file={tmp_path / 'answers.yml'}")
    assert (code, output) == (1, "port must be a whole number from 1024 to 65535, not 80.")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("app_nmae", "did you mean app_name?"),
        ("python", "did you mean python_version?"),
        ("package_name", "did you mean app_name?"),
        ("pins", f"the questions are {', '.join(sorted(QUESTIONS))}."),
    ],
)
def test_answer_to_no_question_is_refused(name: str, hint: str, tmp_path: Path) -> None:
    """A name that is misspelt, or that of a value which follows from the answers."""
    code, output = copy(tmp_path / "project", "--defaults", f"--data={name}=x")
    assert (code, output) == (1, f"'{name}' is no question of this template: {hint}")
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize(
    ("default", "message"),
    [
        ("port: 80", "port must be a whole number from 1024 to 65535, not 80: Copier's settings say so."),
        (
            "package_name: other",
            "package_name must not have a default in Copier's settings: it follows from the answers.",
        ),
    ],
)
def test_bad_default_in_the_settings_of_copier_is_refused(
    default: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.yml").write_text(f"defaults:\n  {default}\n  author: of another template\n")
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(tmp_path / "settings.yml"))
    assert copy(tmp_path / "project", "--defaults", "--quiet") == (1, message)
    assert not (tmp_path / "project").exists()
    if "package_name" not in default:
        question, _, answer = default.partition(": ")
        good = {"port": "8000", "author_email": ""}[question]
        assert answer != good
        assert copy(tmp_path / "project", "--defaults", "--quiet", f"--data={question}={good}") == (0, "")


def test_files_in_the_way_of_a_new_project_stop_what_must_not_ask(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# From GitHub\n")
    (tmp_path / "LICENSE").touch()
    assert copy(tmp_path, "--defaults", "--quiet") == (
        1,
        "README.md must not be there yet: choose another folder, or add --overwrite to replace them.",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LICENSE", "README.md"]
    assert copy(tmp_path, "--defaults", "--quiet", "--overwrite") == (0, "")
    assert "# my-service" in (tmp_path / "README.md").read_text()


def test_lost_answers_are_asked_back(tmp_path: Path) -> None:
    assert copy(tmp_path / "project", "--defaults", "--quiet") == (0, "")
    (tmp_path / "project" / ".copier-answers.yml").unlink()
    code, output = copy(tmp_path / "project", "--defaults", "--quiet", "--overwrite")
    assert code == 1
    assert output.startswith(".copier-answers.yml must hold the answers of this project, and is missing: restore it")


def test_defaults_alone_make_a_project(tmp_path: Path) -> None:
    code, output = copy(tmp_path / "project", "--defaults", "--quiet")
    assert (code, output) == (0, "")
    recorded = yaml.safe_load((tmp_path / "project" / ".copier-answers.yml").read_text())
    assert {name: value for name, value in recorded.items() if not name.startswith("_")} == {
        name: question["default"] for name, question in QUESTIONS.items()
    } | {"app_name": "my-service", "own_files": []}


def test_fixtures_refuse_answers_that_are_no_question() -> None:
    check_answers({"framework": "flask"})
    with pytest.raises(KeyError, match="app_nmae, package_name"):
        check_answers({"app_nmae": "x", "package_name": "y", "port": 8000})


def new(destination: Path | str, **variables: str) -> tuple[int, str]:
    """Run `make new`; return its exit code and its last line, without make's own."""
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
        ({"DATA": "app_nmae=x"}, "'app_nmae' is no question of this template: did you mean app_name?"),
        ({"DATA": "package_name=x"}, "'package_name' is no question of this template: did you mean app_name?"),
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


def test_make_new_uses_the_checkout_and_not_its_newest_tag(template_clone: Path, tmp_path: Path) -> None:
    check_run("git", "tag", "1.0.0", cwd=template_clone)
    (template_clone / "template" / "only-in-the-checkout.txt").write_text("here\n")
    new_py = [sys.executable, "-m", "scripts.new", f"--destination={tmp_path / 'project'}", "--data=port=9000"]
    output = check_run(*new_py, cwd=template_clone)
    assert (tmp_path / "project" / "only-in-the-checkout.txt").read_text() == "here\n"
    assert "has uncommitted changes" in output
