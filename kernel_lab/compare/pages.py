"""Two pages: what changed between two runs, and what held over many. One file each, no network, no script."""

from __future__ import annotations

import html
from collections.abc import Sequence

from kernel_lab.compare.changes import Difference
from kernel_lab.compare.over_time import Line, Point
from kernel_lab.gate.judging import About
from kernel_lab.judge.verdict import MARK, Validity

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
.valid,.better{color:#1e6b34}.invalid,.worse{color:#a11b14}.unknown{color:#7a5600}
.dot{display:inline-block;min-width:1.4em;text-align:center;border-radius:3px}
@media(prefers-color-scheme:dark){body{background:#151515;color:#e8e8e8}th,td{border-color:#444}
.valid,.better{color:#6fcf8a}.invalid,.worse{color:#ff8a80}.unknown{color:#e0b45c}}
"""
_TITLE = {
    "verdict": "Verdicts",
    "share": "Shares, with 95 % intervals",
    "cost": "Cost ratios, with 95 % intervals",
}


def diff_page(before: About, after: About, found: Difference, lines: Sequence[str]) -> str:
    """The page of a comparison."""
    body = [f"<p>{_text(line)}</p>" for line in lines]
    for sort, title in _TITLE.items():
        rows = [one for one in found.changes if one.sort == sort]
        if rows:
            body.append(f"<h2>{title}</h2><table><tr><th>where</th><th>before</th><th>after</th></tr>")
            for one in rows:
                kind = "" if one.worse is None else "worse" if one.worse else "better"
                cells = f"<td>{_text(one.where)}</td><td>{_text(one.before)}</td>"
                body.append(f'<tr>{cells}<td class="{kind}">{_text(one.after)}</td></tr>')
            body.append("</table>")
    if found.not_compared:
        body.append("<h2>Not compared</h2><ul>")
        body += [f"<li>{_text(one)}</li>" for one in found.not_compared]
        body.append("</ul>")
    return _page(f"{before.run} and {after.run}", "What changed between two runs", body)


def history_page(lines: Sequence[Line], runs: Sequence[About]) -> str:
    """The page of many runs: one line for each guarantee, one mark for each run, the oldest first."""
    body = [f"<p>{len(runs)} runs, the oldest on the left.</p>"]
    body.append("<table><tr><th>guarantee</th><th>runs</th><th>latest</th></tr>")
    for line in lines:
        marks = "".join(_dot(point) for point in line.points)
        last = next((point for point in reversed(line.points) if point.validity), None)
        said = f'<span class="{last.validity}">{_text(last.said)}</span>' if last else "never measured"
        body.append(f"<tr><td>{_text(line.name)}</td><td>{marks}</td><td>{said}</td></tr>")
    body.append("</table><h2>Runs</h2><ol>")
    body += [f"<li>{_told(one)}</li>" for one in runs]
    return _page("kernel-lab history", "One line a guarantee, one mark a run", [*body, "</ol>"])


def _dot(point: Point) -> str:
    if not point.validity:
        return f'<span class="dot" title="{_text(point.run)}: not measured">·</span>'
    said = _text(f"{point.run}: {point.said}")
    return f'<span class="dot {point.validity}" title="{said}">{MARK[Validity(point.validity)]}</span>'


def _told(one: About) -> str:
    return _text(
        f"{one.run}: {one.measured or 'at an unknown time'}, {one.commit or 'no commit'}, {one.kernel}"
    )


def _page(title: str, heading: str, body: Sequence[str]) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(title)}</title><style>{_STYLE}</style>'
        f"<h1>{_text(heading)}</h1>" + "\n".join(body) + "</html>\n"
    )


def _text(text: str) -> str:
    return html.escape(text, quote=True)
