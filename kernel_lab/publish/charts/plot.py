"""A plot: two axes, and marks put where their values are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from markupsafe import Markup

SHAPES = (
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0Z",
    "M-4-4H4V4H-4Z",
    "M0-5.2 5 4H-5Z",
    "M0-5.6 5.6 0 0 5.6-5.6 0Z",
    "M0 5.2 5-4H-5Z",
    "M-5-2H-2V-5H2V-2H5V2H2V5H-2V2H-5Z",
)
"""Circle, square, triangle, diamond, triangle upside down, cross: one a series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A range of values, and which of them are written."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Return the position of a value between the ends: 0 to 1."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return (value - low) / (high - low)


def percents(title: str) -> Axis:
    """0 to 100 %."""
    ticks = tuple((step / 4, f"{25 * step} %") for step in range(5))
    return Axis(title=title, low=0, high=1, ticks=ticks)


def from_zero(title: str, values: Iterable[float], unit: str = "") -> Axis:
    """An axis from 0 to the first round number above all values, in four or five steps."""
    most = max(values, default=0.0) or 1.0
    size = 10 ** math.floor(math.log10(most))
    step = next(size * part for part in (0.2, 0.25, 0.5, 1, 2) if size * part * 5 >= most)
    count = math.ceil(most / step - 1e-9)
    ticks = tuple((number * step, f"{number * step:g}{unit}") for number in range(count + 1))
    return Axis(title=title, low=0, high=count * step, ticks=ticks)


@dataclass(slots=True)
class Plot:
    """An SVG under construction, in its own pixels: about as wide as a phone."""

    x: Axis
    y: Axis
    width: int = 420
    height: int = 280
    left: int = 50
    right: int = 22
    top: int = 30
    bottom: int = 42
    root: ET.Element = field(init=False)

    def __post_init__(self) -> None:
        """Draw the axes."""
        self.root = ET.Element(
            "svg", {"viewBox": f"0 0 {self.width} {self.height}", "class": "plot", "role": "img"}
        )
        x0, x1 = self.left, self.width - self.right
        y0 = self.height - self.bottom
        for value, word in self.y.ticks:
            y = _px(self.py(value))
            self.add("line", x1=str(x0), x2=str(x1), y1=y, y2=y, cls="grid")
            self.write(word, x0 - 7, self.py(value) + 4, cls="tick end")
        for value, word in self.x.ticks:
            self.write(word, self.px(value), y0 + 17, cls="tick mid")
        self.add("line", x1=str(x0), x2=str(x1), y1=str(y0), y2=str(y0), cls="axis")
        self.write(self.x.title, (x0 + x1) / 2, self.height - 6, cls="axis-title mid")
        self.write(self.y.title, 0, 13, cls="axis-title")

    def px(self, value: float) -> float:
        """Return the position of a value on the x axis, in pixels."""
        return self.left + self.x.at(value) * (self.width - self.left - self.right)

    def py(self, value: float) -> float:
        """Return the position of a value on the y axis, in pixels."""
        return self.height - self.bottom - self.y.at(value) * (self.height - self.bottom - self.top)

    def add(
        self, tag: str, *, cls: str = "", parent: ET.Element | None = None, **attributes: str
    ) -> ET.Element:
        """Any element."""
        extra = {"class": cls} if cls else {}
        return ET.SubElement(self.root if parent is None else parent, tag, {**attributes, **extra})

    def write(self, text: str, x: float, y: float, *, cls: str = "") -> ET.Element:
        """Words, at pixels."""
        element = self.add("text", x=_px(x), y=_px(y), cls=cls)
        element.text = text
        return element

    def line(self, points: Sequence[tuple[float, float]], *, cls: str) -> None:
        """A line through values."""
        pairs = " ".join(f"{_px(self.px(x))},{_px(self.py(y))}" for x, y in points)
        self.add("polyline", points=pairs, cls=cls)

    def area(self, points: Sequence[tuple[float, float, float]], *, cls: str) -> None:
        """Between two lines: ``(x, low, high)``."""
        edge = [(x, high) for x, _, high in points] + [(x, low) for x, low, _ in reversed(points)]
        pairs = " ".join(f"{_px(self.px(x))},{_px(self.py(y))}" for x, y in edge)
        self.add("polygon", points=pairs, cls=cls)

    def upright(self, x: float, low: float, high: float, *, cls: str, shift: float = 0) -> None:
        """An interval of y."""
        at = _px(self.px(x) + shift)
        self.add("line", x1=at, x2=at, y1=_px(self.py(low)), y2=_px(self.py(high)), cls=cls)

    def level(self, y: float, low: float, high: float, *, cls: str) -> None:
        """An interval of x."""
        at = _px(self.py(y))
        self.add("line", x1=_px(self.px(low)), x2=_px(self.px(high)), y1=at, y2=at, cls=cls)

    def dash(self, x: float, y: float, *, cls: str, shift: float = 0) -> None:
        """A short level stroke: what was predicted."""
        px, py = self.px(x) + shift, _px(self.py(y))
        self.add("line", x1=_px(px - 8), x2=_px(px + 8), y1=py, y2=py, cls=cls)

    def point(
        self, x: float, y: float, *, series: int, title: str, href: str = "", shift: float = 0, cls: str = ""
    ) -> None:
        """A mark, in the colour and the shape of its series."""
        parent = self.add("a", href=href) if href else self.root
        mark = self.add(
            "path",
            d=SHAPES[series % len(SHAPES)],
            transform=f"translate({_px(self.px(x) + shift)} {_px(self.py(y))})",
            cls=f"mark s{series} {cls}".rstrip(),
            parent=parent,
        )
        self.add("title", parent=mark).text = title

    def svg(self, label: str) -> Markup:
        """The finished picture, and in a sentence what it shows."""
        self.root.set("aria-label", label)
        return to_markup(self.root)


def to_markup(root: ET.Element) -> Markup:
    """An element as it stands in a page."""
    return Markup(ET.tostring(root, encoding="unicode", short_empty_elements=True))  # noqa: S704 - built, not pasted


def key(series: int) -> Markup:
    """The mark of a series, for a legend."""
    root = ET.Element("svg", {"viewBox": "-7 -7 14 14", "class": "key", "aria-hidden": "true"})
    ET.SubElement(root, "path", {"d": SHAPES[series % len(SHAPES)], "class": f"mark s{series}"})
    return to_markup(root)


def _px(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
