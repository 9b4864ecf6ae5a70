"""Pictures of the workshop, as SVG: the stages of a Dockerfile, and a chart of measurements."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Self
from xml.etree import ElementTree as ET

FONT = "'DejaVu Sans Mono', Menlo, Consolas, monospace"
SIZE, CHARACTER = 14, 8.6  # of the text; a character of the fonts is not wider
PAPER, INK, GRAY, PALE, TINT = "#ffffff", "#1b2733", "#52606d", "#e4e7eb", "#e3edff"
BLUE, GREEN = "#1d4ed8", "#15803d"
# The colors of dashed arrows, by the stage where they start. Text in them is readable on PAPER.
COLORS = ("#9a3412", "#6b21a8", "#166534", "#9d174d", "#854d0e", "#0f766e")
MARGIN, INDENT, GAP, LINE, LANE = 20, 40, 14, 24, 14
LEGEND = "solid: FROM, dashed: COPY --from or RUN --mount, white: not needed for the image"
FINAL = " = the image"
BARS, BAR = 120, 400  # where the bars of a chart start, and the length of the longest one


class Drawing:
    """An SVG with its own background, which is readable on a light and on a dark page."""

    def __init__(self, title: str, description: str) -> None:
        """Start with an empty drawing. Screen readers read the title and the description."""
        labels = {"role": "img", "aria-labelledby": "title description"}
        font = {"font-family": FONT, "font-size": str(SIZE)}
        self.root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg"} | labels | font)
        ET.SubElement(self.root, "title", id="title").text = title
        ET.SubElement(self.root, "desc", id="description").text = description
        self.background = self.rectangle(0, 0, 0, 0, PAPER)

    def rectangle(
        self, x: float, y: float, width: float, height: float, fill: str, stroke: str = "none"
    ) -> ET.Element:
        """Draw a rectangle, and return it."""
        place = {"x": f"{x:g}", "y": f"{y:g}", "width": f"{width:g}", "height": f"{height:g}"}
        style = {"rx": "6", "fill": fill, "stroke": stroke, "stroke-width": "2"}
        return ET.SubElement(self.root, "rect", place | style)

    def text(self, x: float, y: float, content: str, fill: str = INK, weight: str = "400") -> None:
        """Write a line of text. Its baseline is at `y`."""
        place = {"x": f"{x:g}", "y": f"{y:g}", "fill": fill, "font-weight": weight}
        ET.SubElement(self.root, "text", place).text = content

    def arrow(self, line: str, head: str, color: str, dashes: str = "none") -> None:
        """Draw an arrow. Its line and the triangle at its end are data of an SVG path."""
        style = {"fill": "none", "stroke": color, "stroke-width": "2", "stroke-dasharray": dashes}
        ET.SubElement(self.root, "path", {"d": line} | style)
        ET.SubElement(self.root, "path", d=head, fill=color)

    def finish(self, width: float, height: float) -> str:
        """Set the size of the drawing, and return its text."""
        size = {"width": f"{width:g}", "height": f"{height:g}"}
        self.background.attrib |= size
        self.root.attrib |= size | {"viewBox": f"0 0 {width:g} {height:g}"}
        ET.indent(self.root)
        return ET.tostring(self.root, encoding="unicode") + "\n"


# --- stages of a Dockerfile -----------------------------------------------------------------------


@dataclass(eq=False)
class Stage:
    """A stage of a Dockerfile, or an image that a stage starts from or copies from.

    Attributes:
        name: The name or the number of the stage, or the name of the image.
        base: The stage or image that it starts from. An image has none.
        copies: The stages and images that it copies or mounts, and the path in each.
    """

    name: str
    base: Self | None = None
    copies: list[tuple[Self, str]] = field(default_factory=list)

    def sources(self) -> list[Self]:
        """Return the stages and images that it uses directly."""
        return [*([self.base] if self.base else []), *(source for source, _ in self.copies)]


def instructions(dockerfile: str) -> Iterator[list[str]]:
    """Yield the words of each instruction, without comments and the contents of heredocs.

    Source: https://docs.docker.com/reference/dockerfile/#format
    """
    lines = iter(dockerfile.splitlines())
    instruction = ""
    for line in map(str.rstrip, lines):
        if not line or line.lstrip().startswith("#"):
            continue  # also between the lines of an instruction
        instruction += line.removesuffix("\\")
        if line.endswith("\\"):
            continue
        words = re.findall(r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|\S)+""", instruction)
        instruction = ""
        yield words
        for word in words if words[0].upper() in {"ADD", "COPY", "RUN"} else ():
            if heredoc := re.fullmatch(r"\d*<<(-?)([\"']?)([^<\"']+)\2", word):
                indentation = "\t" if heredoc[1] else ""
                any(content.lstrip(indentation) == heredoc[3] for content in lines)  # skips them


def parse(dockerfile: str) -> list[Stage]:
    """Return the stages of a Dockerfile, in the order of the file."""
    stages: list[Stage] = []
    images: dict[str, Stage] = {}
    variables: dict[str, str] = {}

    def find(name: str, earlier: list[Stage]) -> Stage:
        if name.isdecimal() and int(name) < len(earlier):
            return earlier[int(name)]
        named = [stage for stage in earlier if stage.name.lower() == name.lower()]
        return named[-1] if named else images.setdefault(name, Stage(name))

    def expand(value: str) -> str:
        reference = r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))"
        value = value.strip("\"'")
        return re.sub(reference, lambda it: variables.get(it[1] or it[3]) or it[2] or it[0], value)

    for keyword, *words in instructions(dockerfile):
        given = list(takewhile(lambda word: word.startswith("--"), words))
        options = [option[2:].partition("=")[::2] for option in given]
        match keyword.upper(), words[len(given) :]:
            case "ARG", values if not stages:
                defaults = (value.partition("=")[::2] for value in values)
                variables |= {name: expand(default) for name, default in defaults}
            case "FROM", [image, *alias]:
                name = alias[1] if len(alias) == 2 else f"stage {len(stages)}"
                stages.append(Stage(name, find(expand(image), stages)))
            case "COPY", values if stages and "from" in dict(options):
                line = " ".join(values)
                paths = re.findall('"(.+?)"', line) if line.startswith("[") else values
                source = find(dict(options)["from"], stages[:-1])
                stages[-1].copies += [(source, path) for path in paths[:-1]]
            case "RUN", _ if stages:
                mounts = [value.split(",") for option, value in options if option == "mount"]
                for mount in (dict(part.partition("=")[::2] for part in parts) for parts in mounts):
                    if "from" in mount:
                        path = mount.get("source") or mount.get("src") or "/"
                        stages[-1].copies.append((find(mount["from"], stages[:-1]), path))
    return stages


def needs(stage: Stage) -> set[Stage]:
    """Return a stage, and every stage and image that its build needs."""
    return {stage}.union(*map(needs, stage.sources()))


def tree(stages: list[Stage]) -> Iterator[tuple[Stage, int]]:
    """Yield each image and stage with its depth. Stages follow the one that they start from."""

    def last(stage: Stage) -> int:
        """Return the index of the last stage that starts from this one, directly or not."""
        own = stages.index(stage) if stage in stages else -1
        return max([own, *(last(child) for child in stages if child.base is stage)])

    def branch(stage: Stage, depth: int) -> Iterator[tuple[Stage, int]]:
        yield stage, depth
        for child in sorted((child for child in stages if child.base is stage), key=last):
            yield from branch(child, depth + 1)

    used = dict.fromkeys(source for stage in stages for source in stage.sources())
    for image in sorted((source for source in used if source not in stages), key=last):
        yield from branch(image, 0)


def describe(stages: list[Stage]) -> str:
    """Return the picture in words."""
    lines = []
    for stage in stages:
        copies = [f"uses {path} of {source.name}" for source, path in stage.copies]
        base = [f"{stage.name} starts from {stage.base.name}"] if stage.base else []
        lines.append(f"{', '.join(base + copies)}.")
    return " ".join([*lines, f"The image is {stages[-1].name}." if stages else "There are none."])


def shortened(name: str) -> str:
    """Return a name, or the end of a long one."""
    return name if len(name) <= 40 else f"…{name[-39:]}"


@dataclass
class Box:
    """The box of a stage.

    Attributes:
        label: The text in it.
        x: The left edge.
        y: The upper edge.
        height: The height.
        ends: Where dashed arrows meet the right edge: those that end here, then those that start.
    """

    label: str
    x: float
    y: float
    height: float
    ends: list[float]

    @property
    def right(self) -> float:
        """Return the right edge."""
        return self.x + 24 + CHARACTER * len(self.label)


def boxes_of(stages: list[Stage]) -> dict[Stage, Box]:
    """Return the boxes of all images and stages, one below the other."""
    boxes: dict[Stage, Box] = {}
    y = float(MARGIN)
    for stage, depth in tree(stages):
        is_copied = any(source is stage for other in stages for source, _ in other.copies)
        count = len(stage.copies) + is_copied
        height = max(36, count * LINE)
        ends = [y + height / 2 + (end - (count - 1) / 2) * LINE for end in range(count)]
        label = shortened(stage.name) + FINAL * (stage is stages[-1])
        boxes[stage] = Box(label, MARGIN + INDENT * depth, y, height, ends)
        y += height + GAP
    return boxes


def stage_graph(dockerfile: str) -> str:
    """Return a picture of the stages of a Dockerfile, each below the one that it starts from.

    Args:
        dockerfile: The text of the Dockerfile.

    Returns:
        An SVG.
    """
    stages = parse(dockerfile)
    needed = needs(stages[-1]) if stages else set()
    boxes = boxes_of(stages)
    drawing = Drawing("Stages of the Dockerfile", describe(stages))
    for stage, box in boxes.items():
        middle = box.y + box.height / 2
        if stage.base:
            start = boxes[stage.base]
            line = f"M{start.x + 16:g} {start.y + start.height:g}V{middle:g}H{box.x - 8:g}"
            drawing.arrow(line, f"M{box.x:g} {middle:g}l-10 -5v10z", INK)
        fill, stroke = (TINT, BLUE) if stage in needed else (PAPER, GRAY)
        if stage is stages[-1]:
            fill = BLUE
        elif not stage.base:
            fill = stroke = PALE
        drawing.rectangle(box.x, box.y, box.right - box.x, box.height, fill, stroke)
        drawing.text(box.x + 12, middle + 5, box.label, PAPER if fill == BLUE else INK)

    copies = [
        (source, boxes[stage].right, end, shortened(path))
        for stage in stages
        for (source, path), end in zip(stage.copies, boxes[stage].ends, strict=False)
    ]
    edges = [box.right for box in boxes.values()]
    edges += [right + 24 + CHARACTER * len(path) for _, right, _, path in copies]
    sources = list(dict.fromkeys(source for source, *_ in copies))
    for source, right, end, path in copies:
        number, start = sources.index(source), boxes[source]
        lane, color = max(edges) + LANE * number, COLORS[number % len(COLORS)]
        line = f"M{start.right:g} {start.ends[-1]:g}H{lane:g}V{end:g}H{right + 8:g}"
        drawing.arrow(line, f"M{right:g} {end:g}l10 -5v10z", color, dashes="6 4")
        drawing.text(right + 16, end - 5, path, color)
    bottom = max((box.y + box.height for box in boxes.values()), default=0)
    drawing.text(MARGIN, bottom + 34, LEGEND, GRAY)
    edges = [max(edges, default=0) + LANE * len(sources), MARGIN + CHARACTER * len(LEGEND)]
    return drawing.finish(max(edges) + MARGIN, bottom + 54)


# --- measurements ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """A measurement of a lesson. A value that was not measured is `None`.

    Attributes:
        lesson: The number or the title of the lesson.
        label: The name of the measurement.
        unit: The unit of the values.
        start: The value of the Dockerfile at the start of the lesson.
        yours: The value of the learner's Dockerfile.
        reference: The value that the authors of the workshop measured for the solution.
    """

    lesson: str
    label: str
    unit: str
    start: float | None
    yours: float | None
    reference: float | None

    def bars(self) -> list[tuple[str, float, str, str]]:
        """Return the name, the value, the text and the color of each bar."""
        bars = (
            ("start", self.start, GRAY),
            ("yours", self.yours, BLUE),
            ("reference", self.reference, GREEN),
        )
        return [
            (name, value, f"{f'{value:,.1f}'.removesuffix('.0')} {self.unit}".strip(), color)
            for name, value, color in bars
            if value is not None
        ]


def chart(figures: Sequence[Figure]) -> str:
    """Return a chart with three bars for each measurement, which has its own scale.

    Args:
        figures: The measurements, in the order of the chart.

    Returns:
        An SVG.
    """
    titles = [f"{figure.lesson}: {figure.label}" for figure in figures]
    words = [
        f"{title}: {', '.join(f'{name} {text}' for name, _, text, _ in figure.bars())}."
        for title, figure in zip(titles, figures, strict=True)
    ]
    drawing = Drawing("Your measurements and the reference", " ".join(words))
    y = float(MARGIN)
    for title, figure in zip(titles, figures, strict=True):
        drawing.text(MARGIN, y + SIZE, title, weight="700")
        longest = max((value for _, value, _, _ in figure.bars()), default=0)
        for name, value, text, color in figure.bars():
            y += LINE
            width = BAR * value / longest if longest else 0
            drawing.text(MARGIN, y + SIZE, name)
            drawing.rectangle(BARS, y, width, SIZE + 4, color)
            drawing.text(BARS + width + 8, y + SIZE, text)
        y += LINE + GAP
    width = max([BARS + BAR + 160, *(MARGIN + CHARACTER * len(title) for title in titles)])
    return drawing.finish(width + MARGIN, y + MARGIN - GAP)
