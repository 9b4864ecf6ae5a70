"""A learner of the workshop: a project, its lessons, and functions that follow their pages and check files.

A page has fenced blocks of these kinds:

- `sh`: commands, which run in the folder of the project. A `text` block directly after it is their whole output. `...`
  in it stands for any text. If the output has a `✗`, the commands must fail, otherwise they must succeed.
- Any other block is an illustration.
"""

import ast
import contextlib
import json
import re
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import jinja2

from tests.support.commands import ROOT, by_hand, check_run, run
from tests.support.docker import PLUGINS, free_port
from tests.support.recipes import Block, blocks, check_output
from tools import questionnaire

TEMPLATE = ROOT / "template" / "{% if include_workshop %}workshop{% endif %}"
# The numbers of the lessons.
LESSONS = sorted(folder.name[:2] for folder in TEMPLATE.glob("[0-9][0-9]-*"))


@dataclass(frozen=True)
class Checked:
    """A check of a lesson that has run.

    Attributes:
        solved: Whether it found that all goals were reached.
        missed: The functions of the missed goals.
        output: What it printed.
        seconds: How long it took.
    """

    solved: bool
    missed: set[str]
    output: str
    seconds: float


@dataclass
class Learner:
    """A learner with a project.

    Attributes:
        folder: The folder of the project.
        name: The name of the project.
        framework: Its framework.
        commands: The number of blocks of commands that have run.
        checks: The checks that have run, by their arguments of make.
    """

    folder: Path
    name: str
    framework: str
    commands: int = 0
    checks: dict[str, list[Checked]] = field(default_factory=dict)

    @property
    def workshop(self) -> Path:
        """The folder of the lessons."""
        return self.folder / "workshop"

    def lesson(self, number: str) -> Path:
        """Return the folder of a lesson."""
        (folder,) = self.workshop.glob(f"{number}-*")
        return folder

    def goals(self) -> dict[str, str]:
        """Return the function of each goal by the sentence that describes it."""
        modules = [ast.parse((self.workshop / "check" / name).read_text()) for name in ("goals.py", "ci.py")]
        functions = [node for module in modules for node in module.body if isinstance(node, ast.FunctionDef)]
        documented = ((ast.get_docstring(function) or "", function.name) for function in functions)
        return {text.partition("\n")[0].rstrip("."): name for text, name in documented}

    def shell(self, commands: str) -> tuple[int, str]:
        """Run commands as a learner does, and return the exit code and the output."""
        start = time.monotonic()
        command = ("bash", "-euo", "pipefail", "-c", commands)
        result = run(*command, cwd=self.folder, POETRY_PLUGINS=PLUGINS)
        if made := re.search(r"^make workshop (LESSON=.*)", commands, re.MULTILINE):
            missed = {self.goals()[text] for text in re.findall(r"^  ✗ (.+)$", result.stdout, re.MULTILINE)}
            checked = Checked(result.returncode == 0, missed, result.stdout, time.monotonic() - start)
            self.checks.setdefault(made[1].strip(), []).append(checked)
        return result.returncode, result.stdout

    def check(self, lesson: str, *, solution: bool = False) -> Checked:
        """Check a lesson with `make workshop`."""
        arguments = f"LESSON={lesson}{' SOLUTION=1' if solution else ''}"
        self.shell(f"make workshop {arguments}")
        return self.checks[arguments][-1]

    def follow(self, lesson: str) -> None:
        """Run the commands of a lesson's page, and compare their output with the output on the page.

        Raises:
            AssertionError: A command failed, or its output is not the quoted one.
        """
        page = self.lesson(lesson) / "README.md"
        found = list(blocks(page))
        for block, following in zip_longest(found, found[1:]):
            if block.language == "sh":
                quoted = following if following and following.language == "text" else None
                self._execute(block, quoted, f"{page.relative_to(self.folder)}:{block.line}")

    def _execute(self, block: Block, quoted: Block | None, place: str) -> None:
        code, output = self.shell(block.text)
        self.commands += 1
        is_miss = quoted is not None and "✗" in quoted.text
        shown = f"{place}: exit code {code}: {by_hand('bash', '-c', block.text, cwd=self.folder)}\n{output}"
        assert (code != 0) is is_miss, shown
        if quoted:
            check_output(quoted.text, output, place)

    def is_solved(self, lesson: str) -> bool:
        """Return whether the file with the progress says that a lesson is solved."""
        progress = json.loads((self.workshop / ".progress.json").read_text())
        return bool(progress[self.lesson(lesson).name]["solved"])

    def solve(self, lesson: str) -> None:
        """Replace the files of a lesson with those of its solution."""
        folder = self.lesson(lesson)
        solution = folder / "solution"
        self.put(lesson, solution.iterdir() if solution.exists() else [self.folder / "Dockerfile"])

    def put(self, lesson: str, files: Iterable[Path]) -> None:
        """Write files to the folder of a lesson. They are Jinja templates if their names say so."""
        for file in files:
            if file.suffix == ".jinja":
                (self.lesson(lesson) / file.stem).write_text(self._rendered(file.read_text()))
            else:
                shutil.copy(file, self.lesson(lesson))

    def restore(self) -> None:
        """Undo every edit of the project, and forget the progress."""
        check_run("git", "checkout", "--quiet", ".", cwd=self.folder)
        check_run("git", "clean", "--quiet", "--force", cwd=self.folder)
        (self.workshop / ".progress.json").unlink(missing_ok=True)
        self.checks.clear()

    def left_behind(self) -> list[str]:
        """Return the containers and images that checks left, and the files that git would add."""
        mine = f"--filter=label=workshop={self.folder}"
        return [
            *check_run("docker", "container", "ls", "--all", "--quiet", mine, cwd=self.folder).split(),
            *check_run("docker", "image", "ls", "--all", "--quiet", mine, cwd=self.folder).split(),
            *(folder.name for folder in self.workshop.glob(".check-*")),
            *check_run("git", "status", "--porcelain", cwd=self.folder).splitlines(),
        ]

    def _rendered(self, template: str) -> str:
        """Return an alternative solution for this project."""
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # noqa: S701
        final = (self.lesson("05") / "solution" / "Dockerfile").read_text()
        command = re.search(r"^CMD \[(.+)\]$", final, re.MULTILINE)
        assert command is not None
        facts = (self.workshop / "check" / "facts.py").read_text()
        ports = dict(re.findall(r"^(\w*PORT) = (\d+)$", facts, re.MULTILINE))
        return environment.from_string(template).render(
            command=command[1],
            dockerfile=(self.folder / "Dockerfile").read_text(),
            framework=self.framework,
            index_port=ports["INDEX_PORT"],
            package=self.name.replace("-", "_"),
            plugins=PLUGINS,
            port=ports["PORT"],
            pins=questionnaire.versions(),
        )


def free_ports() -> int:
    """Return a free port for a service, for which the port of the workshop's package index is free too."""
    index_port = jinja2.Template(questionnaire.read()["index_port"]["default"])
    while True:
        port = free_port()
        with contextlib.suppress(OSError), socket.socket() as index:
            index.bind(("127.0.0.1", int(index_port.render(port=port))))
            return port


@contextmanager
def prepared(learner: Learner) -> Iterator[Learner]:
    """Prepare everything that the lessons need, and remove it afterwards."""
    try:
        check_run("make", "workshop-prepare", cwd=learner.folder)
        yield learner
    finally:
        images = (f"{learner.name}-workshop-{image}" for image in ("base", "index"))
        run("docker", "image", "rm", "--force", *images, cwd=learner.folder)
