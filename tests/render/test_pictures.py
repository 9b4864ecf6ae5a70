"""The pictures of the workshop, read back from their SVG: the stages of Dockerfiles, and measurements."""

import re
import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from xml.etree import ElementTree as ET

import pytest

from tests.support.commands import ROOT
from tests.support.projects import Render

PICTURES = runpy.run_path(str(ROOT / "template/{% if include_workshop %}workshop{% endif %}/check/pictures.py"))
FIGURE = PICTURES["Figure"]
SVG = "{http://www.w3.org/2000/svg}"
CHARACTER = 0.602 * 14  # the width of a character of DejaVu Sans Mono at the size of the text
IMAGE = " = the image"

# Each arrow is (from, to) for FROM, and (from, to, path) for copies.
STAGES = {
    "one stage": ("FROM python:3.14\nRUN true\n", {("python:3.14", "stage 0")}),
    "names in any case": (
        "from python as Base\nfrom base as app\ncopy --from=BASE /a /b\n",
        {("python", "Base"), ("Base", "app"), ("Base", "app", "/a")},
    ),
    "arguments": (
        'ARG VERSION="3.14" VARIANT=slim\nARG IMAGE=python:${VERSION}-$VARIANT\n'
        "FROM --platform=$BUILDPLATFORM ${IMAGE} AS base\nARG IMAGE=other\n"
        "FROM ${REGISTRY:-local}/app\nFROM $UNKNOWN\n",
        {("python:3.14-slim", "base"), ("local/app", "stage 1"), ("$UNKNOWN", "stage 2")},
    ),
    "continuations and comments": (
        "# FROM a AS comment\nFROM \\\n  # FROM b AS comment\n\n"
        "  python \\\n    AS base   \nRUN echo \\\n# FROM c\nFROM d\nFROM base\n",
        {("python", "base"), ("base", "stage 1")},
    ),
    "heredocs": (
        "FROM python AS base\nRUN cat <<EOF >a && cat <<-'END' >b\nFROM x AS y\nEOF \nEOF\n\tFROM x AS z\n\tEND\n"
        'COPY <<"FILE" /file\nCOPY --from=x /a /b\nFILE\nRUN echo "a <<EOF b" $((1<<2))\nFROM base AS last\n',
        {("python", "base"), ("base", "last")},
    ),
    "numbers and images": (
        "FROM python\nFROM node AS web\nFROM debian\nCOPY --from=0 /a /b/ /c/\n"
        'COPY --chown=1:1 --from=web ["/d e", "/f"]\n'
        "COPY --from=example.com/uv:1 /uv /bin/\nCOPY . .\n",
        {
            *(("python", "stage 0"), ("node", "web"), ("debian", "stage 2")),
            *(("stage 0", "stage 2", "/a"), ("stage 0", "stage 2", "/b/"), ("web", "stage 2", "/d e")),
            ("example.com/uv:1", "stage 2", "/uv"),
        },
    ),
    "mounts": (
        "FROM python AS base\nFROM base AS lock\nFROM base\n"
        "RUN --mount=type=cache,target=/c --mount=type=bind,from=lock,source=/l,target=/l \\\n"
        "    --mount=from=lock,src=/m,dst=/m --mount=type=bind,from=tool,target=/t command --mount=from=lock\n",
        {
            *(("python", "base"), ("base", "lock"), ("base", "stage 2")),
            *(("lock", "stage 2", "/l"), ("lock", "stage 2", "/m"), ("tool", "stage 2", "/")),
        },
    ),
    "names of images": (
        "FROM python AS python\nFROM python AS app\nCOPY --from=later /a /b\nFROM app AS later\n",
        {("python", "python"), ("python", "app"), ("app", "later"), ("later", "app", "/a")},
    ),
    "the order of the branches": (
        "FROM a AS first\nFROM first AS early\nFROM b AS second\nCOPY --from=early /c /c\nFROM first AS last\n",
        {("a", "first"), ("first", "early"), ("b", "second"), ("early", "second", "/c"), ("first", "last")},
    ),
    "long names": (
        f"FROM python@sha256:{'0' * 64} AS base\nFROM base\nCOPY --from=base {'/folder' * 20} /\n",
        {(f"…{'0' * 39}", "base"), ("base", "stage 1"), ("base", "stage 1", f"…{('/folder' * 20)[-39:]}")},
    ),
}


def read(svg: str) -> ET.Element:
    """Return the root of an SVG."""
    return ET.fromstring(svg)  # noqa: S314 - the text is ours


@dataclass(frozen=True)
class Area:
    """A rectangle in a picture."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Area") -> bool:
        """Return whether two rectangles have more than an edge in common."""
        is_beside = self.right <= other.left or other.right <= self.left
        return not (is_beside or self.bottom <= other.top or other.bottom <= self.top)

    def has(self, x: float, y: float) -> bool:
        """Return whether a point is in the rectangle or on its edge."""
        return self.left <= x <= self.right and self.top <= y <= self.bottom


def area_of(element: ET.Element) -> Area:
    """Return the area of a rectangle or of a line of text."""
    x, y = float(element.attrib["x"]), float(element.attrib["y"])
    if element.tag == f"{SVG}text":
        return Area(x, y - 11, x + CHARACTER * len(element.text or ""), y + 3)
    return Area(x, y, x + float(element.attrib["width"]), y + float(element.attrib["height"]))


def segments(line: str) -> Iterator[Area]:
    """Yield the parts of a line of an arrow, which starts at a point and goes horizontally and vertically."""
    start, *parts = re.findall(r"[MHV][^MHV]+", line)
    x, y = map(float, start[1:].split())
    for direction, number in ((part[0], part[1:]) for part in parts):
        end_x, end_y = (float(number), y) if direction == "H" else (x, float(number))
        yield Area(min(x, end_x) - 1, min(y, end_y) - 1, max(x, end_x) + 1, max(y, end_y) + 1)
        x, y = end_x, end_y


class Picture:
    """A picture of stages, read from its SVG.

    Attributes:
        size: The area of the picture.
        boxes: The area of each box, with the text in it.
        texts: The area of each text, with the text.
        images: The names of the stages that are marked as the image.
        lines: The parts of the arrows.
        arrows: The names at the ends of each arrow, and the path beside it if it is dashed.
    """

    def __init__(self, svg: str) -> None:
        """Read an SVG."""
        root = read(svg)
        background, *rectangles = map(area_of, root.iter(f"{SVG}rect"))
        self.size = background
        self.texts = [(area_of(element), element.text or "") for element in root.iter(f"{SVG}text")]
        self.boxes = [
            (box, text.removesuffix(IMAGE))
            for box in rectangles
            for area, text in self.texts
            if box.has(area.left, area.top) and box.has(area.right, area.bottom)
        ]
        self.images = [text.removesuffix(IMAGE) for _, text in self.texts if text.endswith(IMAGE)]
        lines = [element.attrib for element in root.iter(f"{SVG}path") if "stroke" in element.attrib]
        self.lines = [line for attributes in lines for line in segments(attributes["d"])]
        self.arrows = {self._arrow(line["d"], line["stroke-dasharray"] != "none") for line in lines}

    def _arrow(self, line: str, is_dashed: bool) -> tuple[str, ...]:
        numbers = [float(number) for number in re.findall(r"[\d.]+", line)]
        x, y, *_, end_y, end_x = numbers
        if not is_dashed:
            return self._box_at(x, y), self._box_at(end_x + 8, end_y)
        paths = [text for area, text in self.texts if area.has(end_x + 10, end_y - 6)]
        return self._box_at(x, y), self._box_at(end_x - 8, end_y), *paths

    def _box_at(self, x: float, y: float) -> str:
        [name] = [name for box, name in self.boxes if box.has(x, y)]
        return name


@pytest.fixture(scope="module")
def dockerfile(render: Render) -> str:
    """Return the Dockerfile of a project, with all of its stages."""
    return (render(include_devcontainer=True) / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize(("text", "arrows"), STAGES.values(), ids=STAGES)
def test_stage_graph_has_each_stage_and_arrow(text: str, arrows: set[tuple[str, ...]]) -> None:
    picture = Picture(PICTURES["stage_graph"](text))
    assert picture.arrows == arrows
    assert {name for _, name in picture.boxes} == {name for arrow in arrows for name in arrow[:2]}


def test_stage_graph_shows_the_project(dockerfile: str) -> None:
    picture = Picture(PICTURES["stage_graph"](dockerfile))
    bases = re.findall(r"^FROM (\S+) AS (\S+)$", dockerfile, re.MULTILINE)
    assert {arrow for arrow in picture.arrows if len(arrow) == 2} == {
        (base.replace("${PYTHON_IMAGE}", "python:3.14-slim-trixie"), stage) for base, stage in bases
    }
    copies = len(re.findall("^COPY --from=|--mount=type=bind,from=", dockerfile, re.MULTILINE))
    assert len(picture.arrows) == len(bases) + copies
    assert picture.images == ["production"]


@pytest.mark.parametrize("name", [*STAGES, "the project"])
def test_stage_graph_has_no_overlaps(name: str, dockerfile: str) -> None:
    text = STAGES[name][0] if name in STAGES else dockerfile
    picture = Picture(PICTURES["stage_graph"](text))
    boxes = [box for box, _ in picture.boxes]
    assert [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])] == []
    for area, content in picture.texts:
        assert picture.size.has(area.left, area.top), content
        assert picture.size.has(area.right, area.bottom), content
        assert [other for place, other in picture.texts if place != area and place.overlaps(area)] == [], content
        around = [box for box in boxes if box.overlaps(area)]
        assert len(around) <= 1, content
        assert all(box.has(area.left, area.top) and box.has(area.right, area.bottom) for box in around), content
        assert [line for line in picture.lines if line.overlaps(area)] == [], content


def test_stage_graph_marks_the_image_and_what_it_needs() -> None:
    root = read(PICTURES["stage_graph"]("FROM a AS b\nFROM b AS c\nFROM b AS d\nFROM e\nCOPY --from=d / /\n"))
    _, *boxes = root.iter(f"{SVG}rect")
    labels = [text.text or "" for text in root.iter(f"{SVG}text")]
    fills = dict(zip(labels, [box.attrib["fill"] for box in boxes], strict=False))
    assert fills["a"] == fills["e"]
    assert fills["b"] == fills["d"]
    assert len({fills[name] for name in ("a", "b", "c", f"stage 3{IMAGE}")}) == 4


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("", 0),
        ("# FROM a\n", 0),
        ("FROM\n", 0),
        ("COPY --from=a b c\nFROM d AS\n", 2),
        ('FROM a\n"\nCOPY --from=b\n', 2),
    ],
)
def test_stage_graph_accepts_broken_files(text: str, boxes: int) -> None:
    assert len(Picture(PICTURES["stage_graph"](text)).boxes) == boxes


@pytest.mark.parametrize("svg", [PICTURES["stage_graph"]("FROM a AS b\nCOPY --from=c /d /\n"), PICTURES["chart"]([])])
def test_pictures_have_texts_for_screen_readers(svg: str) -> None:
    root = read(svg)
    labels = [root.find(f"{SVG}*[@id='{name}']") for name in root.attrib["aria-labelledby"].split()]
    assert [label.tag for label in labels if label is not None] == [f"{SVG}title", f"{SVG}desc"]


def test_description_of_stage_graph_names_stages_and_paths() -> None:
    root = read(PICTURES["stage_graph"]("FROM a AS b\nFROM c\nCOPY --from=b /d /\n"))
    assert root.findtext(f"{SVG}desc") == "b starts from a. stage 1 starts from c, uses /d of b. The image is stage 1."


def test_chart_has_a_bar_for_each_value_on_the_scale_of_its_group() -> None:
    figures = [
        FIGURE("01 · Naive", "image <size>", "MB", 1200, 300.25, 600),
        FIGURE("04 · Dependencies first", "edit & build", "s", None, 3, 1.5),
        FIGURE("09 · Process 1", "lost requests", "", 0, None, 0),
        FIGURE("11 · CI", "not measured", "s", None, None, None),
    ]
    root = read(PICTURES["chart"](figures))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts == [
        *("01 · Naive: image <size>", "start", "1,200 MB", "yours", "300.2 MB", "reference", "600 MB"),
        *("04 · Dependencies first: edit & build", "yours", "3 s", "reference", "1.5 s"),
        *("09 · Process 1: lost requests", "start", "0", "reference", "0"),
        "11 · CI: not measured",
    ]
    background, *bars = map(area_of, root.iter(f"{SVG}rect"))
    widths = [bar.right - bar.left for bar in bars]
    assert widths == pytest.approx([400, 100.08, 200, 400, 200, 0, 0], abs=0.1)
    areas = [*bars, *map(area_of, root.iter(f"{SVG}text"))]
    assert [pair for pair in combinations(areas, 2) if pair[0].overlaps(pair[1])] == []
    assert all(background.has(area.left, area.top) and background.has(area.right, area.bottom) for area in areas)
