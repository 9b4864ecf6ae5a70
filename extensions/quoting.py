"""Quoting: how an answer is written in the languages of the generated files, as pure functions."""

import json

from jinja2 import Environment
from jinja2.ext import Extension


def toml_string(text: str) -> str:
    """Return any text as a basic string of TOML, quotes included.

    TOML has the escapes of JSON, except for surrogate pairs, and requires one more, U+007F.

    Source: TOML 1.0.0, https://toml.io/en/v1.0.0#string
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_author(name: str, email: str) -> str:
    """Return an author as an inline table of TOML, or an empty string if both the name and the address are empty.

    Source: PEP 621, https://peps.python.org/pep-0621/#authors-maintainers
    """
    fields = {"name": name, "email": email}
    given = ", ".join(f"{key} = {toml_string(value)}" for key, value in fields.items() if value)
    return f"{{ {given} }}" if given else ""


def one_line(text: str) -> str:
    """Return a text with a space for each line break, which would end the headers of a wheel.

    Source: https://packaging.python.org/en/latest/specifications/core-metadata/#summary
    """
    return " ".join(text.splitlines())


def dockerfile_string(text: str) -> str:
    """Return any text as a double-quoted word of a Dockerfile, quotes included.

    A Dockerfile has no escape for a line break, so each becomes a space. A backslash is put between two quoted parts,
    because hadolint reads one that is followed by a quote as an escape of the quote.

    Source: https://docs.docker.com/reference/dockerfile/#environment-replacement
    """
    escapes = str.maketrans({'"': '\\"', "$": "\\$", "\\": '"\\\\"', "\n": " "})
    return f'"{text.translate(escapes)}"'


class QuotingExtension(Extension):
    """Makes the functions available as Jinja filters."""

    def __init__(self, environment: Environment) -> None:
        """Register the filters in Copier's environment."""
        super().__init__(environment)
        environment.filters |= {rule.__name__: rule for rule in (toml_string, toml_author, one_line, dockerfile_string)}
