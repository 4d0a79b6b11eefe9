"""The plot beside the table: who works through how many requests a second; an SVG for light pages and dark ones."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

from context import Row

OURS = "slackwater"
WIDTH, LEFT, RIGHT = 760, 230, 120
"""Of the picture, of what stands to the left of a bar and to the right of the longest."""
TOP, BAR, GAP, BOTTOM = 56, 22, 12, 34
_STYLE = """\
text { font: 14px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 }
.note { font-size: 12px; fill: #57606a }
.bar { fill: #8c959f }
.ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  .bar { fill: #6e7681 }
  .ours { fill: #4493f8 }
}"""


def bars(rows: Sequence[Row]) -> dict[str, float]:
    """Return the bars by what stands beside them, the longest first: ours, and each yardstick that has a name."""
    named = [(row.bar, row.ours, row.yardstick) for row in rows if row.bar is not None]
    found = {bar: theirs for bar, _, theirs in named if theirs is not None}
    if named and named[0][1] is not None:
        found[OURS] = named[0][1]
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def svg(found: dict[str, float], note: str) -> str:
    """Draw them."""
    longest = max(found.values(), default=1.0)
    height = TOP + len(found) * (BAR + GAP) + BOTTOM
    said = "; ".join(f"{name}: {value:,.0f}" for name, value in found.items())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">',
        f"<title>Requests a second. {escape(said)}</title>",
        f"<style>\n{_STYLE}\n</style>",
        '<text class="title" x="0" y="24">Requests a second, all with the same backend that answers at once</text>',
    ]
    for number, (name, value) in enumerate(found.items()):
        lines += _bar(TOP + number * (BAR + GAP), name, value, (WIDTH - LEFT - RIGHT) * value / longest)
    lines += [f'<text class="note" x="0" y="{height - 10}">{escape(note)}</text>', "</svg>"]
    return "\n".join(lines) + "\n"


def _bar(top: int, name: str, value: float, length: float) -> list[str]:
    middle = top + BAR * 3 // 4
    kind = "bar ours" if name == OURS else "bar"
    return [
        f'<text x="{LEFT - 12}" y="{middle}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{kind}" x="{LEFT}" y="{top}" width="{max(length, 1):.1f}" height="{BAR}" rx="3"/>',
        f'<text x="{LEFT + length + 8:.1f}" y="{middle}">{value:,.0f}</text>',
    ]
