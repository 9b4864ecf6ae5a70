"""Parameters of tests: which cases of a wide matrix run in every run, and which only with `-m slow`."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest

from tests.support.template import STACKS


def slow(*cases: tuple[Any, ...]) -> list[Any]:
    """Return cases as parameters of a test that run only with `-m slow`."""
    return [pytest.param(*case, marks=pytest.mark.slow) for case in cases]


def in_every_run(chosen: Collection[Any], cases: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Return cases as parameters of a test. The chosen ones are in every run, the others run only with `-m slow`."""
    return [case if case in chosen else slow(case)[0] for case in cases]


# The stacks for a test that starts containers. Each framework and each server is in every run.
CONTAINER_STACKS = in_every_run([stack for stack in STACKS if stack != ("flask", "granian")], STACKS)
