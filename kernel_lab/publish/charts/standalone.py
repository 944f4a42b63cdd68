"""A picture as a file of its own: its style, its title and its legend inside it.

For a text that cannot hold a picture, such as a README: nothing in it is a link, and it is light or dark as
its reader's screen is.
"""

from __future__ import annotations

import textwrap
from xml.etree import ElementTree as ET

from kernel_lab.publish.charts import STYLE, Picture
from kernel_lab.publish.charts.plot import SHAPES

PAD = 16
TITLE_PX = 30
LINE_PX = 20
WORD_PX = 6.6
"""About as wide as a letter is."""


def standalone(picture: Picture) -> str:
    """The picture as an SVG file."""
    plot = ET.fromstring(str(picture.svg))  # noqa: S314 - our own
    width, height = (int(part) for part in plot.attrib["viewBox"].split()[2:])
    entries = _entries(picture, width)
    rows = max((row for row, *_ in entries), default=-1) + 1
    whole = (width + 2 * PAD, TITLE_PX + height + LINE_PX * rows + 2 * PAD)
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {whole[0]} {whole[1]}", "class": "plot",
            "role": "img", "aria-label": plot.attrib["aria-label"],
        },
    )  # fmt: skip
    ET.SubElement(root, "style").text = f"\n{STYLE}.card {{ fill: var(--card); stroke: var(--rule); }}\n"
    edge = {"x": "0.5", "y": "0.5", "rx": "12", "class": "card"}
    ET.SubElement(root, "rect", {**edge, "width": str(whole[0] - 1), "height": str(whole[1] - 1)})
    _write(root, picture.title, PAD, PAD + 13, cls="axis-title", weight="bold")
    body = ET.SubElement(root, "g", {"transform": f"translate({PAD} {PAD + TITLE_PX})"})
    body.extend(_unlinked(list(plot)))
    legend = ET.SubElement(root, "g", {"transform": f"translate({PAD} {PAD + TITLE_PX + height + 4})"})
    for row, x, path, cls, said in entries:
        y = LINE_PX * row + LINE_PX / 2
        ET.SubElement(legend, "path", {"d": path, "class": cls, "transform": f"translate({x + 7} {y})"})
        _write(legend, said, x + 20, y + 4)
    return ET.tostring(root, encoding="unicode") + "\n"


def _entries(picture: Picture, width: int) -> list[tuple[int, int, str, str, str]]:
    """Row, place, mark and words of each entry of the legend."""
    entries = [(SHAPES[series % len(SHAPES)], f"mark s{series}", said) for series, said in picture.legend]
    if "predicted" in picture.marks:
        entries.append(("M-7 0H7", "predicted", "predicted by the probe"))
    if "interval" in picture.marks:
        entries.append(("M0-6V6", "interval", "95 % interval"))
    placed, row, x = [], 0, 0
    for path, cls, said in entries:
        needs = round(34 + WORD_PX * len(said))
        if x and x + needs > width:
            row, x = row + 1, 0
        placed.append((row, x, path, cls, said))
        x += needs
    return placed


def _unlinked(elements: list[ET.Element]) -> list[ET.Element]:
    """Take the marks out of their links, because a picture in a text has no links."""
    return [inner for element in elements for inner in (list(element) if element.tag == "a" else [element])]


def _write(parent: ET.Element, said: str, x: float, y: float, *, cls: str = "", weight: str = "") -> None:
    attributes = {"x": f"{x:g}", "y": f"{y:g}", "class": cls, "font-weight": weight}
    text = ET.SubElement(parent, "text", {name: value for name, value in attributes.items() if value})
    text.text = textwrap.shorten(said, 80)
