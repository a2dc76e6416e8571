"""The report of a run: one HTML file that needs no other, `python -m floodgate.peak.report DIRECTORY`.

Owns the page. A process of its own after the run, so drawing costs the measurement
nothing, and it can be drawn again.
"""

from __future__ import annotations

import base64
import os
import platform
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from floodgate.peak.charts import draw
from floodgate.peak.result import WORDS, ExitCode, Result, result

PAGE = "report.html"
TONES = {ExitCode.PASSED: "good", ExitCode.FAILED: "bad", ExitCode.INVALID: "quiet"}
TITLES = {
    "timeline.png": "offered load, goodput and refusals over time",
    "latency.png": "latency of the admitted and of the refused over time",
    "queue.png": "requests that wait and run on each route, against its limit",
    "processes.png": "processor time of the processes over time",
}

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light; --ink: #1f2933; --quiet: #616e7c; --line: #e4e7eb; --good: #1b7f5c; --bad: #c2452d; }
body { margin: 2rem auto; max-width: 68rem; padding: 0 1rem; color: var(--ink); background: #fff;
       font: 14px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p.what { color: var(--quiet); margin: .2rem 0 1rem; }
p.exit_code { padding: .6rem .9rem; border-left: .35rem solid; background: #f5f7fa; font-weight: 600; }
p.good { border-color: var(--good); } p.bad { border-color: var(--bad); } p.quiet { border-color: var(--quiet); }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tr:last-child td { font-weight: 600; }
td.FAIL { color: var(--bad); font-weight: 600; } td.ok { color: var(--good); }
li { margin: .2rem 0; }
img { max-width: 100%; height: auto; display: block; margin: 1.2rem 0; }
</style>
</head>
<body>
<h1>$title</h1>
<p class="what">$what</p>
<p class="outcome $tone">$outcome</p>
$remarks
<h2>Statistics</h2>
<div class="wide"><table>$rows</table></div>
<p class="what">$pace. Latencies are of every single request, from the moment it was due.</p>
<h2>Pictures</h2>
$pictures
<p class="what">$machine</p>
</body>
</html>
""")


def main(directory: Path) -> int:
    """Draws the pictures and writes the page."""
    found = result(directory)
    drawn = draw(directory, found)
    page = directory / PAGE
    page.write_text(html(found, drawn))
    print(f"report: {os.path.relpath(page)}; pictures beside it: {', '.join(file.name for file in drawn)}")
    return 0


def html(found: Result, drawn: Sequence[Path]) -> str:
    """Returns the page, with the pictures within."""
    plan = found.plan
    load = f"shape {plan.shape}, {plan.seconds:g} s, base {plan.per_s:g}/s" if plan.shape else "as its page said"
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in (*found.complaints, *found.breaches))
    return _PAGE.substitute(
        title=escape(f"Load test of {plan.host}"),
        what=escape(f"{load}, {plan.users} users for the base, {found.total.offered} requests"),
        tone=TONES[found.exit_code],
        outcome=escape(WORDS[found.exit_code]),
        remarks=f"<ul>{remarks}</ul>" if remarks else "",
        rows=_rows(found.cells),
        pace=escape(found.pace_line),
        pictures="\n".join(map(_picture, drawn)),
        machine=escape(
            f"Made on {os.cpu_count()} processors, {platform.system()}, Python {platform.python_version()}."
        ),
    )


def _rows(cells: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in cells[0])
    lines = [
        "".join(
            f'<td class="{escape(cell)}">{escape(cell)}</td>' if cell in ("ok", "FAIL") else _cell(cell) for cell in row
        )
        for row in cells[1:]
    ]
    return f"<tr>{head}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines)


def _cell(cell: str) -> str:
    return f"<td>{escape(cell)}</td>"


def _picture(file: Path) -> str:
    data = base64.b64encode(file.read_bytes()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(TITLES[file.name])}">'


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
