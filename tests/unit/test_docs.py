"""The documentation: its pages are complete, and the links in all documents are valid."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import markdown
import pytest
import yaml

from tests.support.commands import ROOT
from tests.support.template import COPIER_YML

DOCS = ROOT / "docs"
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if not page.is_relative_to(DOCS / "benchmarks")]
RECORDS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
README_LINES = 120
RECORD_LINES = 25


class Content(HTMLParser):
    """The links, the anchors and the level-2 headings of a document."""

    def __init__(self, text: str) -> None:
        """Read a document in HTML."""
        super().__init__()
        self.links: list[str] = []  # of any element
        self.anchors: set[str] = set()
        self.headings: list[str] = []
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the links and the anchors."""
        given = dict(attrs)
        self._tag = tag
        self.anchors |= {anchor for name, anchor in attrs if name == "id" and anchor}
        self.links += [target for name in ("href", "src") if (target := given.get(name)) is not None]

    def handle_data(self, data: str) -> None:
        """Keep the text of a heading."""
        if self._tag == "h2":
            self.headings.append(data)
            self._tag = ""


def read(path: Path) -> Content:
    """Return the content of a document in Markdown."""
    text = markdown.markdown(path.read_text(encoding="utf-8"), extensions=["pymdownx.superfences", "tables", "toc"])
    return Content(text)


def pages_of(navigation: list[object]) -> Iterator[str]:
    """Yield the pages in a part of the navigation."""
    for entry in navigation:
        if isinstance(entry, str):
            yield entry
        else:
            assert isinstance(entry, dict)
            for content in entry.values():
                yield from [content] if isinstance(content, str) else pages_of(content)


def test_navigation_has_every_page_once() -> None:
    pages = sorted(page for page in pages_of(CONFIG["nav"]) if not page.startswith("workshop/"))
    assert pages == [str(page.relative_to(DOCS)) for page in PAGES]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(document: Path) -> None:
    for link in read(document).links:
        target = urlsplit(link)
        if target.scheme in {"http", "https"}:
            continue
        assert not target.scheme, link
        assert not target.path.startswith("/"), link
        path = document.parent / unquote(target.path) if target.path else document
        assert path.exists(), link
        if target.fragment:
            assert target.fragment in read(path).anchors, link


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


def test_page_of_the_questions_has_a_row_for_each_question() -> None:
    asked = [name for name, question in COPIER_YML.items() if isinstance(question, dict) and "help" in question]
    rows = re.findall(r"^\| (`.*?) \|", (DOCS / "questions.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == asked


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_record_of_a_decision_has_the_usual_form(record: Path) -> None:
    assert read(record).headings == ["Context", "Decision", "Consequences", "Measured on"]
    assert len(record.read_text(encoding="utf-8").splitlines()) <= RECORD_LINES


def test_index_lists_every_record() -> None:
    assert [link for link in read(DOCS / "decisions" / "index.md").links if link] == [path.name for path in RECORDS]
    assert [path.name[:4] for path in RECORDS] == [f"{number:04}" for number in range(1, len(RECORDS) + 1)]
