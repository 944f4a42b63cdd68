"""Pictures of a run, as SVG that stands inside a page: no library, no script, colours from the page's style.

Every mark can be a link and has a title; the page's classes ``s0`` to ``s5`` give a series its colour, and
its shape tells it from the others without one. A picture for which a run has no figures is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

STYLE = Markup(Path(__file__).with_name("plot.css").read_text("utf-8"))  # noqa: S704 - our own file
"""The colours, light and dark, and what a picture does with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture as a page shows it."""

    title: str
    svg: Markup
    legend: tuple[tuple[int, str], ...]
    """The series and their meanings, which stand in the legend."""
    caption: str
    marks: tuple[str, ...] = ()
    """Further marks that the legend explains: ``predicted``, ``interval``, ``ceiling``."""


def link(cell: str) -> str:
    """A function from the name of a cell to its place on a page."""
    return f"#cell-{cell}"
