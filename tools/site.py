"""Adds the workshop to the site: a hook of MkDocs that renders a project with the default answers.

Source: https://www.mkdocs.org/user-guide/configuration/#hooks
"""

import os
import re
import runpy
import tempfile
from functools import partial
from itertools import count
from pathlib import Path

from copier import run_copy
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).parent.parent
# Files that only a learner's check writes. The site does not have them.
WRITTEN = {"build.log", "measurements.md", "measurements.svg", "stages.svg"}
FENCE = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)
DOCKERFILE = re.compile(r"^(```+)dockerfile\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[([^\]]+)\]\(([^)\s#:]+)(?:#[^)\s]*)?\)")
SOLUTION = "<summary>Solution</summary>"
# Long lines of code take the place of the table of contents.
FRONT_MATTER = "---\nhide: [toc]\n---\n\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the workshop, the files that they link to, and pictures of Dockerfiles."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder).resolve()
        answers = {"include_workshop": True}
        run_copy(str(ROOT), project, data=answers, defaults=True, unsafe=True, vcs_ref="HEAD", quiet=True)
        workshop = Workshop(project)
        pages = [workshop.add_page(page) for page in sorted((project / "workshop").rglob("*.md"))]
    for name, content in workshop.files.items():
        inclusion = InclusionLevel.INCLUDED if name in pages else InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, name, content=content, inclusion=inclusion))
    return files


class Workshop:
    """The workshop of a project as files of the site, which have the same paths as in the project.

    Attributes:
        files: The text of each file, by its path.
    """

    def __init__(self, project: Path) -> None:
        """Start without files."""
        self.files: dict[str, str] = {}
        self._project = project
        self._pictures = runpy.run_path(str(project / "workshop" / "check" / "pictures.py"))

    def add_page(self, page: Path) -> str:
        """Add a page of the workshop, and return its path on the site."""
        name = str(page.relative_to(self._project))
        parts = FENCE.split(page.read_text(encoding="utf-8"))  # every second one is a fence
        for number, text in enumerate(parts[::2]):
            # GitHub reads Markdown in HTML without the attribute, and ignores it.
            parts[2 * number] = LINK.sub(partial(self._link, page), text).replace("<details>", "<details markdown>")
        question, solution, reason = "".join(parts).partition(SOLUTION)
        self.files[name] = FRONT_MATTER + question + solution + self._with_pictures(name, reason)
        return name

    def _add_source(self, file: Path) -> None:
        """Add a page that shows a file of the project."""
        name = str(file.relative_to(self._project))
        language = (file.suffix or file.name).removeprefix(".").lower()
        text = f"{FRONT_MATTER}# `{name}`\n\n``````{language}\n{file.read_text(encoding='utf-8')}``````\n"
        self.files[f"{name}.md"] = self._with_pictures(name, text)

    def _link(self, page: Path, link: re.Match[str]) -> str:
        """Return a link of a page as a link of the site, or only its text if the site does not have the file."""
        target = Path(os.path.normpath(page.parent / link[2]))
        if target.name in WRITTEN or (target.is_dir() and not (target / "README.md").exists()):
            return link[1]
        if target.is_dir():
            return f"[{link[1]}]({link[2].rstrip('/')}/README.md)"
        is_page = target.suffix == ".md" and target.is_relative_to(self._project / "workshop")
        if is_page or not target.exists():
            return link[0]
        self._add_source(target)
        return f"[{link[1]}]({link[2]}.md)"

    def _with_pictures(self, name: str, text: str) -> str:
        """Return the text of a page with a picture below each Dockerfile, and add the pictures."""
        numbers = count(1)

        def add_picture(block: re.Match[str]) -> str:
            stages = self._pictures["parse"](block[2])
            if not stages:
                return block[0]
            picture = f"{name}-{next(numbers)}.svg"
            self.files[picture] = self._pictures["stage_graph"](block[2])
            return f"{block[0]}\n\n![{self._pictures['describe'](stages)}]({Path(picture).name})"

        return DOCKERFILE.sub(add_picture, text)
