"""The recipes in `docs/recipes/`: functions that read a page, and projects that follow it.

A page has fenced blocks of these kinds:

- `sh`: commands, which run in the folder of the project. A `text` block directly after it is their whole output. `...`
  in it stands for any text.
- A block below a line that only names a file, such as "`Dockerfile`:", is the content of a new file. If it is `diff`,
  it is an edit of the file. The lines that are kept or removed must occur in the file exactly once.
- Any other block is an illustration.

Blocks below a heading `FastAPI` or `Flask` are for that framework only, until the next heading. Blocks below `Undo`
undo the recipe.
"""

import doctest
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import ROOT, by_hand, check_run, run
from tests.support.made import Made

FOLDER = ROOT / "docs" / "recipes"
PAGES = sorted(page.stem for page in FOLDER.glob("*.md") if page.stem != "index")
UNDO = "Undo"
FRAMEWORKS = {"FastAPI": "fastapi", "Flask": "flask"}
FENCE = re.compile(r"```(\w*)")
FILE = re.compile(r"`([^`]+)`:")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: The language of the block.
        file: The file that it creates or changes, or an empty string.
        text: The lines between the fences.
        headings: The headings above it, from level 2 down.
        line: The line of the page that it starts on.
    """

    language: str
    file: str
    text: str
    headings: tuple[str, ...]
    line: int

    def is_for(self, framework: str) -> bool:
        """Return whether a project with this framework needs the block."""
        return all(FRAMEWORKS.get(heading, framework) == framework for heading in self.headings)


def read(page: str) -> Iterator[Block]:
    """Yield the blocks of a recipe, in their order.

    Args:
        page: The name of the page, without its suffix.
    """
    yield from blocks(FOLDER / f"{page}.md")


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page, in their order.

    Raises:
        ValueError: A line that starts like a fence has an unknown form.
    """
    headings: list[str] = []
    above = ["", "", ""]  # the last three lines
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        if heading := re.fullmatch(r"(##+) (.+)", line):
            level = len(heading[1]) - 2
            headings = [*headings[:level], heading[2]]
        elif line.lstrip().startswith("```"):
            fence = FENCE.fullmatch(line)
            if not fence:
                raise ValueError(f"{page.name}:{number}: not a fence of a recipe: {line}")
            content = iter(lambda: next(lines)[1], "```")
            text = "".join(f"{one}\n" for one in content)
            named = FILE.fullmatch(above[1]) if above[0] == above[2] == "" else None
            yield Block(fence[1], named[1] if named else "", text, tuple(headings), number)
        above = [*above[1:], line]


def check_output(quoted: str, output: str, place: str) -> None:
    """Check that commands printed the output that a page quotes.

    Args:
        quoted: The output on the page.
        output: The output of the commands.
        place: The file and the line of the page.

    Raises:
        AssertionError: They are different.
    """
    is_same = doctest.OutputChecker().check_output(quoted, output, doctest.ELLIPSIS)
    assert is_same, f"{place}: the page quotes\n{quoted}\nbut the commands print\n{output}"


def edited(text: str, diff: str) -> str:
    """Return a text with an edit applied.

    Args:
        text: The text.
        diff: The lines of one place in the text, each after a space, `-` (is removed) or `+` (is added).

    Raises:
        ValueError: The lines that are kept or removed do not occur exactly once.
    """
    lines = [line or " " for line in diff.splitlines()]
    before, after = ("".join(f"{line[1:]}\n" for line in lines if line[0] in kept) for kept in (" -", " +"))
    changed, count = re.subn(f"^{re.escape(before)}", lambda _: after, text, flags=re.M)
    if count != 1:
        raise ValueError(f"these lines occur {count} times instead of once:\n{before}")
    return changed


@dataclass
class RecipeProject(Made):
    """A project named `my-service` that follows a recipe. Its port replaces the port in `localhost:8000` of the page.

    Attributes:
        page: The name of the page, without its suffix.
        framework: The framework of the project.
        commands: The number of blocks of commands that have run.
        edits: The number of files that were created, and of places that were changed.
    """

    page: str
    framework: str
    commands: int = 0
    edits: int = 0

    def run(self, *command: str) -> str:
        """Run a command that must succeed, and return its output."""
        return check_run(*command, cwd=self.folder, **self.environment())

    def production_image(self) -> str:
        """Return the name of the production image."""
        return self.run("docker", "compose", "config", "--images", "production").strip()

    def edit(self) -> None:
        """Create and change the files of the page in their order, without running a command.

        Raises:
            AssertionError: A file that the page creates exists.
            ValueError: An edit does not fit the file.
        """
        for block in read(self.page):
            if block.file and UNDO not in block.headings and block.is_for(self.framework):
                self._write(block)

    def follow(self, undo: bool = False) -> None:
        """Execute the blocks of the page in their order: those of the section `Undo`, or all others.

        Raises:
            AssertionError: A command failed, or its output is not the quoted one.
            ValueError: An edit does not fit the file.
        """
        output = None
        for block in read(self.page):
            if (UNDO in block.headings) is not undo or not block.is_for(self.framework):
                continue
            if block.file:
                self._write(block)
            elif block.language == "sh":
                output = self._execute(block)
            elif block.language == "text" and output is not None:
                check_output(self._with_port(block.text), output, self._place(block))
                output = None

    def _execute(self, block: Block) -> str:
        command = ("bash", "-euo", "pipefail", "-c", self._with_port(block.text))
        result = run(*command, cwd=self.folder, **self.environment())
        shown = by_hand(*command, cwd=self.folder, **self.environment())
        assert result.returncode == 0, f"{self._place(block)}: {shown}\n{result.stdout}"
        self.commands += 1
        return result.stdout

    def _write(self, block: Block) -> None:
        self.edits += 1
        path = self.folder / block.file
        if block.language == "diff":
            try:
                path.write_text(edited(path.read_text(), block.text))
            except ValueError as error:
                raise ValueError(f"{self._place(block)}: {block.file}: {error}") from error
            return
        assert not path.exists(), f"{self._place(block)}: {block.file} exists"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)

    def _with_port(self, text: str) -> str:
        return text.replace("localhost:8000", f"localhost:{self.port}")

    def _place(self, block: Block) -> str:
        return f"docs/recipes/{self.page}.md:{block.line}"
