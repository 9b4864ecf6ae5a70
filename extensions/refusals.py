"""Refuses answers and folders before the first question is asked and before anything is written.

Copier ends with a traceback if an answer in `--data` breaks a rule. The only error of a template that it prints in one
line is an undefined value, so a refusal is raised as `UndefinedError`.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, pass_context
from jinja2.exceptions import TemplateSyntaxError, UndefinedError
from jinja2.ext import Extension
from jinja2.runtime import Context

TEMPLATE = Path(__file__).parent.parent
# The files that define questions, and computed values. Two computed values are in copier.yml, between the questions.
QUESTIONS_FILE, *COMPUTED_FILES = (TEMPLATE / name for name in ("copier.yml", "data/facts.yml", "data/computed.yml"))
BETWEEN = {"own_files", "package_name"}
# Questions whose answers every version of this template has recorded.
RECORDED = {"app_name", "poetry_version", "user_uid"}
# Recorded values that no one is asked for, and the types of the facts about a project's code.
HIDDEN = {"own_code", "own_files"}
OWN_CODE = {"app_import": str, "has_starter": bool, "is_package": bool, "root": str, "variables": list}
LARGEST = 5_000_000  # bytes, as in adopting.py


def _near(word: str, words: Sequence[str]) -> str:
    """Return the most similar of some words, or an empty string."""
    return next(iter(difflib.get_close_matches(word, words, n=1)), "")


@pass_context
def app_name_refusal(context: Context, app_name: object) -> str:
    """State why a name is refused: a new name breaks a rule, or a project already has another one.

    A project keeps its name, even if a newer version of the template reserves it.
    """
    recorded = context["destination"]["app_name"]
    if context["destination"]["compares"] or recorded == app_name != "":
        return ""
    if recorded:
        return (
            f"app_name must stay {recorded!r} in an existing project, not become {str(app_name)!r}: "
            "its code would remain in the old package."
        )
    return str(context.environment.filters["app_name_error"](app_name))


@pass_context
def server_refusal(context: Context, server: object, framework: object) -> str:
    """State that a server does not run the framework, and which do."""
    fitting = context["servers"].get(framework, [])  # none for an unknown framework, which another rule refuses
    if not fitting or server is None or server in fitting:
        return ""
    return f"server must be one of {', '.join(fitting)} with framework {framework}, not {str(server)!r}."


def _rule_errors(context: Context, answers: Mapping[str, object]) -> Iterator[str]:
    """State which rules some answers break. Names that are no question are skipped."""
    filters, choices = context.environment.filters, context["choices"]
    for question, answer in answers.items():
        if question not in choices and f"{question}_error" not in filters:
            continue
        if not isinstance(answer, str | int | float):
            yield f"{question} must be one value, not {answer!r}."
        elif question == "app_name":
            yield app_name_refusal(context, answer)
        elif question not in choices:
            yield filters[f"{question}_error"](answer)
        elif str(answer) not in choices[question]:
            near = _near(str(answer), choices[question])
            hint = f" (did you mean {near!r}?)" if near else ""
            yield f"{question} must be one of {', '.join(choices[question])}, not {str(answer)!r}{hint}."


def _damages(context: Context, questions: Sequence[str]) -> Iterator[str]:
    """State which recorded values have another type than those that the template writes."""
    own_files, own_code = context.get("own_files", []), context.get("own_code", {})
    restore = f"restore {context['_copier_conf']['answers_file']} from git."
    for name in (name for name in questions if not isinstance(context.get(name, ""), str | int | float)):
        yield f"{name} must be one value, not {context[name]!r}: {restore}"
    if not isinstance(own_files, list) or not all(isinstance(name, str) for name in own_files):
        yield f"own_files must be a list of files, not {own_files!r}: {restore}"
    if not isinstance(own_code, dict) or not all(isinstance(own_code.get(k, t()), t) for k, t in OWN_CODE.items()):
        yield f"own_code must be facts about the code, not {own_code!r}: {restore}"


def _file_errors(folder: Path, names: Sequence[str]) -> Iterator[str]:
    """State which of some files cannot be read. Copier would wait for a FIFO without end, and fail for a folder."""
    for name in names:
        if Path(folder, name).exists() and not Path(folder, name).is_file():
            yield f"{name} must be a file, and is not: move it away."
        elif Path(folder, name).exists() and Path(folder, name).stat().st_size > LARGEST:
            yield f"{name} must have at most {LARGEST // 10**6} MB: move it away."


def _folder_errors(conf: Mapping[str, Any], destination: Mapping[str, Any]) -> Iterator[str]:
    """State why Copier cannot write to the folder: it would overwrite files, or stop halfway."""
    recorded, pyproject = destination["recorded"], Path(conf["dst_path"], "pyproject.toml")
    if recorded and not {*recorded} >= RECORDED:
        yield (
            f"{conf['answers_file']} must hold this template's answers, and holds another's: "
            "add --answers-file .copier-answers.docker.yml, to each update too."
        )
    elif recorded and not destination["app_name"]:  # Copier would replace it by the default
        yield f"app_name in {conf['answers_file']} must be the name of this project, and is not: restore it from git."
    if not recorded and Path(conf["dst_path"], "docker", "export_lock.py").is_file():
        yield (
            f"{conf['answers_file']} must hold the answers of this project, and is missing: "
            "restore it from git, or name it with --answers-file."
        )
    try:
        tomllib.loads(pyproject.read_text(encoding="utf-8") if pyproject.is_file() else "")
    except (OSError, RecursionError, ValueError) as error:
        yield f"pyproject.toml must be readable as TOML, but is not: {error}."
    if conf["defaults"] and not conf["overwrite"] and destination["existing"]:
        existing = ", ".join(destination["existing"])
        yield f"{existing} must not exist yet: choose another folder, or add --overwrite to replace them."


def _unknown_errors(answers: Mapping[str, object], questions: Sequence[str]) -> Iterator[str]:
    """State that an answer is to no question. Copier would drop it, or use it for a computed value."""
    for name in answers:
        if name not in questions and name not in HIDDEN:
            near = _near(name, questions)
            hint = f"did you mean {near}?" if near else f"the questions are {', '.join(questions)}."
            yield f"{name!r} is not a question of this template: {hint}"


def _names(*definitions: Path) -> set[str]:
    """Return the names that some files define."""
    text = "".join(path.read_text(encoding="utf-8") for path in definitions)
    return {*re.findall(r"^([a-z]\w*):", text, re.MULTILINE)}


def _settings_errors(context: Context, defaults: Mapping[str, object]) -> Iterator[str]:
    """State which defaults in Copier's settings, which are for any template, are not valid here.

    Source: https://copier.readthedocs.io/en/stable/settings/
    """
    unanswered = {name: value for name, value in defaults.items() if name not in context}
    for error in _rule_errors(context, unanswered):
        yield error and f"{error.rstrip('.')}: Copier's settings say so."
    for name in unanswered.keys() & _names(QUESTIONS_FILE):
        try:
            context.environment.parse(str(unanswered[name]))
        except TemplateSyntaxError as error:
            yield f"{name} must be valid in Jinja ({error.message}): Copier's settings say so."


def _contradictions(context: Context, answers: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """State which given answers do not fit the project. After moving in, other answers are given to change it."""
    project, moves_in = context["project"], context["destination"]["moves_in"]
    framework, python, app = (answers.get(name) for name in ("framework", "python_version", "app_import"))
    used = {"flask", "fastapi"} & {*project.get("dependencies", ()), project.get("framework")}
    allowed = project.get("allowed", [])
    if app and not project:
        yield "app_import must not be given for a new project, which gets its own application."
    elif app and not context.environment.filters["import_root"](app, project, folder):
        yield f"app_import must name a module of this project, not {app!r}: it has no {app.partition(':')[0]}."
    if moves_in and framework and used and framework not in used:
        yield f"framework must be {project['framework']}, which this project uses, not {framework!r}."
    if moves_in and python and allowed and python not in allowed:
        yield f"python_version must be one of {', '.join(allowed)}: pyproject.toml has {project['range']!r}."


def _errors(context: Context, questions: Sequence[str]) -> Iterator[str]:
    """State everything that is wrong with the folder, the given and the recorded answers, in the order to fix it."""
    conf, destination, project = context["_copier_conf"], context["destination"], context["project"]
    settings, files = conf["settings"].defaults, context.environment.filters["template_files"]("")
    yield from _file_errors(conf["dst_path"], [str(conf["answers_file"]), *files])
    yield from _folder_errors(conf, destination)
    named = {"app_name": project["name"]} if destination["moves_in"] and project["name"] else {}
    yield from _rule_errors(context, named | conf["user_defaults"] | conf["data"])
    yield from _settings_errors(context, settings)
    framework = context.get("framework", settings.get("framework", context["default_framework"]))
    yield server_refusal(context, context.get("server", settings.get("server")), framework)
    yield from _contradictions(context, conf["data"], conf["dst_path"])
    yield from _damages(context, questions)
    # Copier would replace a recorded answer that is no longer valid by the default.
    for question in (name for name in questions if name in context and name != "app_name"):
        for error in _rule_errors(context, {question: context[question]}):
            command = f"copier update --trust{context['answers_option']} --data {question}=…"
            yield error and f"{error.rstrip('.')}: give another answer, as in {command}"


@pass_context
def refuse_replaced_values(context: Context) -> str:
    """Refuse given values and defaults that would replace a computed value. Return an empty string.

    Raises:
        UndefinedError: Something is wrong. The message is one sentence.
    """
    conf = context["_copier_conf"]
    for name in sorted({*conf["settings"].defaults} & (_names(*COMPUTED_FILES) | BETWEEN)):
        raise UndefinedError(f"{name} must not have a default in Copier's settings: it follows from the answers.")
    if not context.environment.filters["read_destination"](conf)["compares"]:
        for error in _unknown_errors(conf["data"], sorted(_names(QUESTIONS_FILE) - BETWEEN)):
            raise UndefinedError(error)
    return ""


@pass_context
def refuse_bad_answers(context: Context) -> str:
    """Refuse a folder or an answer that was given instead of asked for. Return an empty string.

    Raises:
        UndefinedError: Something is wrong. The message is one sentence.
    """
    rules = (name.removesuffix("_error") for name in context.environment.filters if name.endswith("_error"))
    questions = sorted({*rules, *context["choices"]})
    # An update first renders the old version with the recorded answers.
    errors = _damages if context["destination"]["compares"] else _errors
    for error in filter(None, errors(context, questions)):
        raise UndefinedError(error)
    return ""


class RefusalsExtension(Extension):
    """Makes the functions available in Jinja: the refusals of one question as filters, the checks as globals."""

    def __init__(self, environment: Environment) -> None:
        """Register the names in Copier's environment."""
        super().__init__(environment)
        environment.filters |= {rule.__name__: rule for rule in (app_name_refusal, server_refusal)}
        environment.globals |= {rule.__name__: rule for rule in (refuse_replaced_values, refuse_bad_answers)}
