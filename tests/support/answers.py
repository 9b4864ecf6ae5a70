"""Strategies of Hypothesis that generate valid answers."""

import string
from typing import Any

from hypothesis import strategies as st

from extensions.answers import APP_NAME, app_name_error
from tests.support.template import CHOICES, STACKS

LETTERS = string.ascii_lowercase
app_names = st.one_of(
    st.from_regex(APP_NAME, fullmatch=True).filter(lambda name: len(name) <= 64),
    st.lists(st.text(LETTERS, min_size=1, max_size=9), min_size=64).map(lambda words: "-".join(words)[:63] + "x"),
    st.sampled_from(["a", "null", "yes", "no", "on", "match", "type", "self", "e1", "service-1", "x" * 64]),
).filter(lambda name: not app_name_error(name))

TROUBLE = [
    "'",
    '"',
    "\\",
    "`",
    "$",
    "${X}",
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#",
    ": ",
    "- ",
    "\n",
    "\t",
    "<b>",
    "|",
    "%s",
]
any_text = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
descriptions = st.one_of(
    st.text(any_text | st.sampled_from("\t\n"), max_size=200),
    st.lists(st.sampled_from(TROUBLE) | st.text(any_text, max_size=5), max_size=20).map("".join),
)
author_names = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters=',<>"@'), max_size=40
)
hosts = st.lists(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True), min_size=2, max_size=4)
atoms = st.text(string.ascii_letters + string.digits + "ßé!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=12)
author_emails = st.just("") | st.builds(
    lambda local, host: f"{'.'.join(local)}@{'.'.join(host)}", st.lists(atoms, min_size=1, max_size=3), hosts
)
numbers = st.integers(1, 2**31 - 1)
STACK = ("framework", "server")


def split_stack(answers: dict[str, Any]) -> dict[str, Any]:
    """Return answers in which the stack is a framework and a server."""
    return {name: answer for name, answer in answers.items() if name != "stack"} | dict(
        zip(STACK, answers["stack"], strict=True)
    )


valid_answers = st.fixed_dictionaries(
    {
        "app_name": app_names,
        "app_description": descriptions,
        "author_name": author_names,
        "author_email": author_emails,
        **{question: st.sampled_from(choices) for question, choices in CHOICES.items() if question not in STACK},
        "stack": st.sampled_from(STACKS),
        "poetry_version": st.builds("2.{}.{}".format, st.integers(3, 99), st.integers(0, 99)),
        "port": st.integers(1024, 65535).filter(lambda port: port != 5678),
        "user_uid": numbers,
        "user_gid": numbers,
        "include_devcontainer": st.booleans(),
        "include_kubernetes": st.booleans(),
        "include_workshop": st.booleans(),
    }
).map(split_stack)
