"""The functions that read and apply recipes, and the form of the pages."""

import pytest

from tests.support.recipes import FOLDER, PAGES, edited, read
from tests.support.servers import images


@pytest.mark.parametrize(
    ("diff", "after"),
    [
        (" b\n+x\n", "a\nb\nx\nc\n"),
        ("-b\n+x\n", "a\nx\nc\n"),
        (" a\n-b\n c\n", "a\nc\n"),
    ],
)
def test_edit_changes_one_place(diff: str, after: str) -> None:
    assert edited("a\nb\nc\n", diff) == after


@pytest.mark.parametrize("text", ["a\nc\n", "b\nb\n", "ab\n"])
def test_edit_that_fits_no_place_or_two_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="instead of once"):
        edited(text, " b\n+x\n")


def test_images_are_those_with_a_tag() -> None:
    assert images("    image: redis:8\n+    image: example/server:v1.2\n    image: ${IMAGE}\n") == {
        "redis:8",
        "example/server:v1.2",
    }


@pytest.mark.parametrize("page", PAGES)
def test_recipe_has_the_usual_form(page: str) -> None:
    headings = [
        line[3:] for line in (FOLDER / f"{page}.md").read_text(encoding="utf-8").splitlines() if line[:3] == "## "
    ]
    assert headings == ["Steps", "What to look at", "In production", "Undo"]
    blocks = list(read(page))
    assert any(block.headings[0] == "Undo" and block.language == "sh" for block in blocks)
    assert any(block.file for block in blocks)
