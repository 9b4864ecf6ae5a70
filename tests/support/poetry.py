"""Runs Poetry in the test process, which saves its start-up time of one second."""

import warnings
from pathlib import Path

from cleo.io.inputs.argv_input import ArgvInput
from cleo.io.outputs.buffered_output import BufferedOutput
from poetry.console.application import Application


def poetry(project: Path, *arguments: str) -> tuple[int, str]:
    """Run Poetry in a project. Return its exit code and its output."""
    output, application = BufferedOutput(), Application()
    application.auto_exits(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from Poetry itself
        code = application.run(ArgvInput(["poetry", *arguments, f"--directory={project}"]), output, output)
    return code, output.fetch()


def poetry_check(project: Path) -> str:
    """Return the errors that `poetry check --lock` prints, or an empty string."""
    code, output = poetry(project, "check", "--lock", "--no-plugins")
    return output if code else ""
