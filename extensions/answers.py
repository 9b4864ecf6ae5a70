"""Rules for the answers. `copier.yml` uses them as validators of the questions, and refusals.py for given answers.

Each rule takes an answer and returns one sentence that states the broken rule, or an empty string.
"""

import json
import keyword
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from jinja2 import Environment
from jinja2.ext import Extension

APP_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
APP_NAME_MAX_LENGTH = 64
# The most that PyPI accepts as a summary: https://github.com/pypi/warehouse/blob/main/warehouse/forklift/forms.py
DESCRIPTION_MAX_LENGTH = 512
# Characters that no text may have: control characters, line breaks that YAML changes or that only some tools know, and
# halves of surrogate pairs.
BAD_CHARACTERS = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
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
# Names of other Docker images.
IMAGE_NAMES = {"python", "scratch"}
# Distributions and import packages that the shipped locks install. `make locks` writes the file.
RESERVED_NAMES = Path(__file__).parent.parent / "data" / "reserved_names.json"
DEPENDENCIES = frozenset(json.loads(RESERVED_NAMES.read_text(encoding="utf-8")))


def normalize_name(name: str) -> str:
    """Return a distribution name in its normalized form, such as `my-app` for `My.App`.

    Source: PEP 503, https://peps.python.org/pep-0503/#normalized-names
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def package_name(app_name: str) -> str:
    """Return the import package of a normalized distribution name, such as `my_service` of `my-service`."""
    return app_name.replace("-", "_")


def app_name_error(app_name: object) -> str:
    """State which rule the name of the service breaks.

    A valid name is a PEP 508 name in lower case with single hyphens. The name of its package is an identifier and not a
    keyword, and hides no module of the project or of Python.

    Source: PEP 508, https://peps.python.org/pep-0508/#names
    """
    name = str(app_name)
    if not APP_NAME.fullmatch(name):
        suggestion = normalize_name("-".join(re.findall(r"[A-Za-z0-9]+", name)))
        hint = f": try {suggestion!r}" if APP_NAME.fullmatch(suggestion) else ""
        return (
            "app_name must start with a lower-case letter and have only lower-case letters, digits and single "
            f"hyphens, not {name!r}{hint}."
        )
    if len(name) > APP_NAME_MAX_LENGTH:
        return f"app_name must have at most {APP_NAME_MAX_LENGTH} characters, not {len(name)}."
    package = package_name(name)
    reason = ""
    if keyword.iskeyword(package):
        reason = "it is a keyword of Python"
    elif package in sys.stdlib_module_names or package in CHANGED_STDLIB:
        reason = "its package would hide a module of Python's standard library"
    elif package in {"conftest", "test", "tests"} or package.startswith("test_"):
        reason = "pytest would collect its package as a test"
    elif package in DEPENDENCIES:
        reason = "the project installs a package of that name"
    elif name in IMAGE_NAMES:
        reason = "it is the name of another Docker image"
    return f"app_name must not be {name!r}: {reason}." if reason else ""


def app_description_error(app_description: object) -> str:
    """State that the description is too long, or has one of the `BAD_CHARACTERS`. Tab and newline are valid."""
    text = str(app_description)
    if len(text) > DESCRIPTION_MAX_LENGTH:
        return f"app_description must have at most {DESCRIPTION_MAX_LENGTH} characters, not {len(text)}."
    bad = re.search(f"[{BAD_CHARACTERS}]", text)
    return f"app_description must not contain the character {bad[0]!r}." if bad else ""


def valid_description(description: str) -> str:
    """Return the description of a project that moves in as a valid answer: in one line, and cut if it is too long."""
    return " ".join(re.sub(f"[{BAD_CHARACTERS}]", " ", description).split())[:DESCRIPTION_MAX_LENGTH]


def author_name_error(author_name: object) -> str:
    """State that the author's name has a character that an e-mail header cannot have in a name. It may be empty.

    The `BAD_CHARACTERS`, tab and newline are among them.

    Source: PEP 621, https://peps.python.org/pep-0621/#authors-maintainers
    """
    bad = re.search(rf'[,<>"@\t\n{BAD_CHARACTERS}]', str(author_name))
    return f"author_name must not contain {bad[0]!r}, as in an e-mail header." if bad else ""


def author_email_error(author_email: object) -> str:
    """State that the author's e-mail address is invalid. It may be empty.

    Source: PEP 621, https://peps.python.org/pep-0621/#authors-maintainers, and RFC 5322, section 3.4.1, the dot-atom
    form. Poetry requires a dot in the host too.
    """
    email = str(author_email)
    atom, label = r"[\w!#$%&'*+/=?^`{|}~-]+", r"[\w-]+"
    if not email or re.fullmatch(rf"{atom}(\.{atom})*@{label}(\.{label})+", email):
        return ""
    return f"author_email must be an address such as ada@example.com, or empty, not {email!r}."


def app_import_error(app_import: object) -> str:
    """State that the application is not a module and a variable, or a module and a function with parentheses."""
    if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\(\))?", str(app_import)):
        return ""
    return f"app_import must be like shop.main:app, or shop:create_app() for a function, not {str(app_import)!r}."


def poetry_version_error(poetry_version: object) -> str:
    """State that the version of Poetry is not three numbers, or older than `OLDEST_POETRY`, or newer than 2."""
    version = str(poetry_version)
    match = re.fullmatch(r"(2)\.(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})", version)
    if match and [int(match[1]), int(match[2])] >= [int(number) for number in OLDEST_POETRY.split(".")]:
        return ""
    return f"poetry_version must be a full version 2.x.y, at least {OLDEST_POETRY}.0, not {version!r}."


def _is_in(answer: object, numbers: range) -> bool:
    """Return whether an answer is one of some whole numbers."""
    written = re.fullmatch(r"-?[0-9]{1,20}", str(answer))
    return written is not None and int(written[0]) in numbers


def port_error(port: object) -> str:
    """State that the port is not a whole number from 1024 to 65535, or is the debugger's."""
    if str(port) == str(DEBUG_PORT):
        return f"port must not be {DEBUG_PORT}, where make debug listens for an editor."
    return "" if _is_in(port, PORTS) else f"port must be a whole number from {PORTS[0]} to {PORTS[-1]}, not {port!r}."


def _id_error(question: str, answer: object) -> str:
    """State that a numeric user or group ID is not from 1 to 2147483647."""
    if _is_in(answer, range(1)):
        return f"{question} must not be 0: the service would run as root, and so would an attacker in it."
    return (
        "" if _is_in(answer, IDS) else f"{question} must be a whole number from {IDS[0]} to {IDS[-1]}, not {answer!r}."
    )


def _flag_error(question: str, answer: object) -> str:
    """State that an answer is not a boolean. Copier would take most other words for true."""
    return "" if str(answer).lower() in FLAGS else f"{question} must be true or false, not {answer!r}."


RULES: dict[str, Callable[[object], str]] = {
    "app_name": app_name_error,
    "app_description": app_description_error,
    "author_name": author_name_error,
    "author_email": author_email_error,
    "app_import": app_import_error,
    "poetry_version": poetry_version_error,
    "port": port_error,
    "user_uid": partial(_id_error, "user_uid"),
    "user_gid": partial(_id_error, "user_gid"),
    "include_devcontainer": partial(_flag_error, "include_devcontainer"),
    "include_kubernetes": partial(_flag_error, "include_kubernetes"),
    "include_workshop": partial(_flag_error, "include_workshop"),
}


class AnswersExtension(Extension):
    """Adds each rule as a Jinja filter such as `port_error`, and the oldest Poetry as a global."""

    def __init__(self, environment: Environment) -> None:
        """Register the names in Copier's environment."""
        super().__init__(environment)
        environment.filters |= {f"{question}_error": rule for question, rule in RULES.items()}
        environment.filters |= {"package_name": package_name, "valid_description": valid_description}
        environment.globals["OLDEST_POETRY"] = OLDEST_POETRY
