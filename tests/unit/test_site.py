"""The hook that adds the workshop to the site: the links, folded parts and pictures of its pages."""

import shutil
from pathlib import Path

import pytest

from tests.support.commands import ROOT
from tools.site import Workshop

PICTURES = ROOT / "template" / "{% if include_workshop %}workshop{% endif %}" / "check" / "pictures.py"
DOCKERFILE = "FROM python AS base\nFROM base\nCOPY --from=base /a /b\n"


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    """Return a page of a workshop, without text, in a project with a few other files."""
    files = {
        "Dockerfile": DOCKERFILE,
        "workshop/README.md": "",
        "workshop/02-b/README.md": "",
        "workshop/bench/a.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "workshop" / "check").mkdir()
    shutil.copy(PICTURES, tmp_path / "workshop" / "check")
    (tmp_path / "workshop" / "01-a").mkdir()
    return tmp_path / "workshop" / "01-a" / "README.md"


def added(lesson: Path, text: str) -> dict[str, str]:
    """Return the files that the site has for a lesson with this text."""
    lesson.write_text(text)
    workshop = Workshop(lesson.parents[2])
    workshop.add_page(lesson)
    return workshop.files


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[next](../02-b/README.md#do)", "[next](../02-b/README.md#do)"),
        ("[next](../02-b/)", "[next](../02-b/README.md)"),
        ("[`Dockerfile`](../../Dockerfile#L1)", "[`Dockerfile`](../../Dockerfile.md)"),
        ("[code](../bench/a.py), [folder](../bench/)", "[code](../bench/a.py.md), folder"),
        ("[the log](build.log) and ![yours](../measurements.svg)", "the log and yours"),
        ("[dead](missing.md), [far](https://example.com/a.md), [here](#do)",) * 2,
        ("```md\n[a](build.log) <details>\n```",) * 2,
    ],
)
def test_link_leads_to_the_site(text: str, shown: str, lesson: Path) -> None:
    assert added(lesson, text)["workshop/01-a/README.md"].endswith(f"---\n\n{shown}")


def test_linked_file_has_a_page_with_its_stages(lesson: Path) -> None:
    files = added(lesson, "[this](../../Dockerfile)")
    assert set(files) == {"workshop/01-a/README.md", "Dockerfile.md", "Dockerfile-1.svg"}
    assert f"``````dockerfile\n{DOCKERFILE}``````\n\n![base starts from python." in files["Dockerfile.md"]
    assert files["Dockerfile-1.svg"].startswith("<svg ")


def test_only_dockerfiles_of_the_solution_have_pictures(lesson: Path) -> None:
    block = f"```dockerfile\n{DOCKERFILE}```\n"
    part = "```dockerfile\nRUN true\n```\n"
    files = added(lesson, f"{block}\n<details><summary>Solution</summary>\n\n{part}\n{block}\n{block}\n</details>\n")
    pictures = [name for name in files if name.endswith(".svg")]
    assert pictures == ["workshop/01-a/README.md-1.svg", "workshop/01-a/README.md-2.svg"]
    before, after = files["workshop/01-a/README.md"].split("<summary>")
    assert before.endswith("<details markdown>")
    assert [after.count(f"]({Path(name).name})") for name in pictures] == [1, 1]
    assert "](" not in before
