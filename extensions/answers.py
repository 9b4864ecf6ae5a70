"""Rules for the answers: what Jinja cannot say well, as pure functions.

Each `*_error` function takes an answer as it was given and returns one sentence that states the broken
rule, or an empty string. `copier.yml` uses them twice: as validators of the prompts, and, all at once and before
anything else, on answers that came with `--data` or `--data-file` (see `refuse_bad_answers`).
"""

import difflib
import json
import keyword
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, pass_context
from jinja2.exceptions import UndefinedError
from jinja2.ext import Extension
from jinja2.runtime import Context

APP_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
APP_NAME_MAX_LENGTH = 64
PORTS = range(1024, 65536)
DEBUG_PORT = 5678
IDS = range(1, 2**31)
FLAGS = {"true", "yes", "y", "t", "on", "1", "false", "no", "n", "f", "off", "0"}
OLDEST_POETRY = "2.3"  # earlier ones refuse the shipped lock: it has [dependency-groups]

# Modules that Python gained or lost after 3.11, so that every Python refuses the same names.
# fmt: off
CHANGED_STDLIB = frozenset({
    "aifc", "annotationlib", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "compression", "crypt",
    "distutils", "imghdr", "imp", "lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes",
    "profiling", "smtpd", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib",
})
# fmt: on
QUESTIONNAIRE = Path(__file__).parent.parent / "copier.yml"
# Names that a base image or the image builder has taken.
IMAGE_NAMES = {"python", "scratch"}
# Distributions and import packages that the shipped locks install; `make locks` writes the file.
DEPENDENCIES = frozenset(json.loads(Path(__file__).with_name("reserved_names.json").read_text(encoding="utf-8")))


def normalize_name(name: str) -> str:
    """Return a distribution name in its normalized form.

    Args:
        name: Any distribution name, such as `My.App`.

    Returns:
        The name in lower case, each run of `-`, `_` and `.` replaced by one `-`.

    Source: PEP 503, https://peps.python.org/pep-0503/#normalized-names
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def package_name(app_name: str) -> str:
    """Return the import package of a normalized distribution name, such as `my_service` of `my-service`."""
    return app_name.replace("-", "_")


def app_name_error(app_name: object) -> str:
    """Say what is wrong with the name of the service.

    Args:
        app_name: The answer.

    Returns:
        One sentence, or an empty string. A valid name is a PEP 508 name in lower case with single hyphens, and its
        package name is an identifier, no keyword and no module that the project or Python already has.

    Source: PEP 508, https://peps.python.org/pep-0508/#names
    """
    name = str(app_name)
    if not APP_NAME.fullmatch(name):
        suggestion = normalize_name("-".join(re.findall(r"[A-Za-z0-9]+", name)))
        hint = f": try {suggestion!r}" if APP_NAME.fullmatch(suggestion) else ""
        return (
            "app_name must start with a lower-case letter and hold only lower-case letters, digits and single "
            f"hyphens, not {name!r}{hint}."
        )
    if len(name) > APP_NAME_MAX_LENGTH:
        return f"app_name must have at most {APP_NAME_MAX_LENGTH} characters, not {len(name)}."
    package = package_name(name)
    if keyword.iskeyword(package):
        return f"app_name must not be {name!r}, a keyword of Python."
    if package in sys.stdlib_module_names or package in CHANGED_STDLIB:
        return f"app_name must not be {name!r}: its package would hide a module of Python's standard library."
    if package in {"conftest", "test", "tests"} or package.startswith("test_"):
        return f"app_name must not be {name!r}: its package would be taken for a test."
    if package in DEPENDENCIES:
        return f"app_name must not be {name!r}: the project installs a package of that name."
    if name in IMAGE_NAMES:
        return f"app_name must not be {name!r}: Docker images of that name mean something else."
    return ""


def app_description_error(app_description: object) -> str:
    """Say what is wrong with the description: any text goes, but for control characters other than tab and newline."""
    bad = re.search(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", str(app_description))
    return f"app_description must be text, without the character {bad[0]!r}." if bad else ""


def author_name_error(author_name: object) -> str:
    """Say what is wrong with the author's name, which may be empty.

    Source: PEP 621, https://peps.python.org/pep-0621/#authors-maintainers (a name that an e-mail header can
    hold, without a comma)
    """
    bad = re.search(r'[,<>"@\x00-\x1f\x7f\ud800-\udfff]', str(author_name))
    return f"author_name must be a name as e-mail headers take it, without {bad[0]!r}." if bad else ""


def author_email_error(author_email: object) -> str:
    """Say what is wrong with the author's e-mail address, which may be empty.

    Source: PEP 621, https://peps.python.org/pep-0621/#authors-maintainers, and RFC 5322, section 3.4.1, the dot-atom
    form; Poetry wants a dot in the host too.
    """
    email = str(author_email)
    atom, label = r"[\w!#$%&'*+/=?^`{|}~-]+", r"[\w-]+"
    if not email or re.fullmatch(rf"{atom}(\.{atom})*@{label}(\.{label})+", email):
        return ""
    return f"author_email must be an address such as ada@example.com, or empty, not {email!r}."


def app_import_error(app_import: object) -> str:
    """Say what is wrong with the name of the application: a module and a variable, or a function with parentheses."""
    if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\(\))?", str(app_import)):
        return ""
    return f"app_import must be like shop.main:app, or shop:create_app() for a function, not {str(app_import)!r}."


def poetry_version_error(poetry_version: object) -> str:
    """Say what is wrong with the version of Poetry: three numbers, the first of them 2, from `OLDEST_POETRY` on."""
    version = str(poetry_version)
    match = re.fullmatch(r"(2)\.(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})", version)
    if match and [int(match[1]), int(match[2])] >= [int(number) for number in OLDEST_POETRY.split(".")]:
        return ""
    return f"poetry_version must be a full version 2.x.y, at least {OLDEST_POETRY}.0, not {version!r}."


def _is_in(answer: object, numbers: range) -> bool:
    """Return whether an answer writes a whole number, and one of those."""
    written = re.fullmatch(r"-?[0-9]{1,20}", str(answer))
    return written is not None and int(written[0]) in numbers


def port_error(port: object) -> str:
    """Say what is wrong with the port: a whole number that needs no privilege, 1024 to 65535, but the debugger's."""
    if str(port) == str(DEBUG_PORT):
        return f"port must not be {DEBUG_PORT}, where make debug listens for an editor."
    if _is_in(port, PORTS):
        return ""
    return f"port must be a whole number from {PORTS[0]} to {PORTS[-1]}, not {port!r}."


def _id_error(question: str, answer: object) -> str:
    """Say what is wrong with a numeric user or group ID."""
    if _is_in(answer, IDS):
        return ""
    if _is_in(answer, range(1)):
        return f"{question} must not be 0: the service would run as root, and an exploit in it would too."
    return f"{question} must be a whole number from {IDS[0]} to {IDS[-1]}, not {answer!r}."


def user_uid_error(user_uid: object) -> str:
    """Say what is wrong with the user ID: 1 to 2147483647, as Linux can hand out, root excluded."""
    return _id_error("user_uid", user_uid)


def user_gid_error(user_gid: object) -> str:
    """Say what is wrong with the group ID: 1 to 2147483647, as Linux can hand out, root's excluded."""
    return _id_error("user_gid", user_gid)


def flag_error(question: str, answer: object) -> str:
    """Say that an answer is neither yes nor no; Copier would take most other words for a yes.

    Args:
        question: The name of the question.
        answer: The answer.

    Returns:
        One sentence, or an empty string.
    """
    return "" if str(answer).lower() in FLAGS else f"{question} must be true or false, not {answer!r}."


def include_devcontainer_error(include_devcontainer: object) -> str:
    """Say that the answer to `include_devcontainer` is neither yes nor no."""
    return flag_error("include_devcontainer", include_devcontainer)


def include_workshop_error(include_workshop: object) -> str:
    """Say that the answer to `include_workshop` is neither yes nor no."""
    return flag_error("include_workshop", include_workshop)


def choice_error(question: str, answer: object, choices: Sequence[str]) -> str:
    """Say that an answer is none of the choices, and which there are.

    Args:
        question: The name of the question.
        answer: The answer.
        choices: What may be answered.

    Returns:
        One sentence, or an empty string.
    """
    if str(answer) in choices:
        return ""
    near = difflib.get_close_matches(str(answer), choices, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{question} must be one of {', '.join(choices)}, not {str(answer)!r}{hint}."


RULES: dict[str, Callable[[object], str]] = {
    "app_name": app_name_error,
    "app_description": app_description_error,
    "author_name": author_name_error,
    "author_email": author_email_error,
    "app_import": app_import_error,
    "poetry_version": poetry_version_error,
    "port": port_error,
    "user_uid": user_uid_error,
    "user_gid": user_gid_error,
    "include_devcontainer": include_devcontainer_error,
    "include_workshop": include_workshop_error,
}


def refuse_unknown_answers(answers: Mapping[str, object], choices: Mapping[str, Sequence[str]]) -> str:
    """Refuse answers to what is never asked: Copier drops them, or takes them for a value that follows from others.

    Args:
        answers: Answers by question; Copier's own names begin with an underscore.
        choices: The choices by question, for the questions that have them.

    Returns:
        An empty string.

    Raises:
        UndefinedError: A name is no question; the message is one sentence.
    """
    known = [*RULES, *choices]
    for name in map(str, answers):
        if name not in known and not name.startswith("_") and name not in {"own_files", "own_code"}:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the questions are {', '.join(sorted(known))}."
            raise UndefinedError(f"{name!r} is no question of this template: {hint}")
    return ""


def refuse_bad_answers(answers: Mapping[str, object], choices: Mapping[str, Sequence[str]]) -> str:
    """Refuse answers that were given instead of asked for.

    Copier ends with a traceback when such an answer breaks a rule. An undefined value is the one error of a template
    that it reports as a plain message, so that is what a broken rule is raised as.

    Args:
        answers: Answers by question.
        choices: The choices by question, for the questions that have them.

    Returns:
        An empty string.

    Raises:
        UndefinedError: An answer breaks a rule; the message is one sentence.
    """
    for question, answer in answers.items():
        if question not in RULES and question not in choices:
            continue
        if not isinstance(answer, str | int | float):
            error = f"{question} must be one value, not {answer!r}."
        elif question in choices:
            error = choice_error(question, answer, choices[question])
        else:
            error = RULES[question](answer)
        if error:
            raise UndefinedError(error)
    return ""


@pass_context
def refuse_unfit_server(
    context: Context, given: Mapping[str, object], servers: Mapping[str, Sequence[str]], default: str
) -> str:
    """Refuse a server that does not run the framework.

    Args:
        context: The answers that were given, or that a project has recorded.
        given: Answers by question that apply where the context has none, such as the defaults in Copier's settings.
        servers: The servers of each framework.
        default: The framework if none is known.

    Returns:
        An empty string.

    Raises:
        UndefinedError: The server is not one of the framework's; the message is one sentence.
    """
    framework = str(context.get("framework", given.get("framework", default)))
    server = context.get("server", given.get("server"))
    fitting = servers.get(framework, [])  # none for an unknown framework, which another rule refuses
    if fitting and server is not None and server not in fitting:
        raise UndefinedError(
            f"server must be one of {', '.join(fitting)} with framework {framework}, not {str(server)!r}."
        )
    return ""


@pass_context
def refuse_bad_settings(context: Context, defaults: Mapping[str, object], choices: Mapping[str, Sequence[str]]) -> str:
    """Refuse what the defaults in Copier's settings file, which are for any template, would make of this one.

    Args:
        context: The answers that were given or recorded, which go before the defaults.
        defaults: Answers by the name of a question, of any template.
        choices: The choices by question, for the questions that have them.

    Returns:
        An empty string.

    Raises:
        UndefinedError: An answer breaks a rule, or takes the place of what follows from the answers; the message is
            one sentence.

    Source: https://copier.readthedocs.io/en/stable/settings/
    """
    names = re.findall(r"^([a-z]\w*):", QUESTIONNAIRE.read_text(encoding="utf-8"), re.MULTILINE)
    if computed := sorted(set(defaults) & set(names) - {*RULES, *choices}):
        raise UndefinedError(
            f"{computed[0]} must not have a default in Copier's settings: it follows from the answers."
        )
    try:
        return refuse_bad_answers({name: answer for name, answer in defaults.items() if name not in context}, choices)
    except UndefinedError as error:
        raise UndefinedError(f"{str(error.message).rstrip('.')}: Copier's settings say so.") from error


@pass_context
def refuse_outdated_answers(context: Context, choices: Mapping[str, Sequence[str]], options: str) -> str:
    """Refuse answers of a project that this version of the template takes no longer.

    Copier would replace such an answer by the question's default without a word.

    Args:
        context: The answers that the project's last update recorded; what was given instead is checked by now.
        choices: The choices by question, for the questions that have them.
        options: What `copier update` needs in this project.

    Returns:
        An empty string.

    Raises:
        UndefinedError: An answer breaks a rule; the message is one sentence.
    """
    for question in [*RULES, *choices]:
        if question in context and question != "app_name":  # which a project keeps
            try:
                refuse_bad_answers({question: context[question]}, choices)
            except UndefinedError as error:
                advice = f"give another answer, as in copier update {options} --data {question}=…"
                raise UndefinedError(f"{str(error.message).rstrip('.')}: {advice}") from error
    return ""


class AnswersExtension(Extension):
    """Makes the rules available to Jinja: as filters, and the oldest Poetry as a global."""

    def __init__(self, environment: Environment) -> None:
        """Register the names in Copier's environment."""
        super().__init__(environment)
        environment.filters |= {rule.__name__: rule for rule in RULES.values()}
        environment.globals["OLDEST_POETRY"] = OLDEST_POETRY
        environment.filters["package_name"] = package_name
        environment.filters["refuse_unknown_answers"] = refuse_unknown_answers
        environment.filters["refuse_bad_answers"] = refuse_bad_answers
        environment.filters["refuse_bad_settings"] = refuse_bad_settings
        environment.filters["refuse_unfit_server"] = refuse_unfit_server
        environment.filters["refuse_outdated_answers"] = refuse_outdated_answers
