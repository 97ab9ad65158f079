"""The report of a paper: one self-contained HTML page, always with the same eight parts.

Everything is escaped unless it is `Html`. Build `Html` with the helpers below, or with `markup`, never with an f-string.
The page carries a content policy that forbids every outside address, and all scripts but those that the page was given, which it names by
their hash: a mistake stays harmless.
"""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

from tenfold.core.claims import Claim
from tenfold.core.errors import UsageError
from tenfold.core.report_style import CSS

Better = Literal["up", "down"]


class Html(str):
    """Text that is markup already; any other text is escaped."""

    __slots__ = ()


Content = str | float | None
"""What a page shows: `Html` as it is, other text escaped, numbers rounded, None and NaN as a dash."""

Cell = Content | tuple[float | None, float | None, float | None]
"""What a table shows: also a value with the ends of its interval."""


@dataclass(frozen=True)
class Page:
    """A report. Each part after `claims` is `Html` or plain text; an empty one says that there is nothing. `script`: JavaScript of a player."""

    title: str
    subtitle: str
    verdict: str
    claims: Sequence[Claim]
    numbers: str
    pictures: str
    how: str
    data: str
    cost: str
    provenance: str
    script: str = ""


@dataclass(frozen=True)
class Row:
    """One line of `intervals`: a value with its 95 % interval; `strong` for the line the reader should see first."""

    label: str
    value: float | None
    lo: float | None = None
    hi: float | None = None
    strong: bool = False


def render(page: Page) -> str:
    """The whole page as text, to be written as one UTF-8 file."""
    parts = {
        "Verdict": join(_block(page.verdict), _tally(page.claims)),
        "Claims": claims_table(page.claims),
        "Numbers": page.numbers,
        "Pictures": page.pictures,
        "How it works": page.how,
        "Data": page.data,
        "Cost": page.cost,
        "Provenance": page.provenance,
    }
    return shell(page.title, page.subtitle, parts, page.script)


def shell(title: str, subtitle: str, parts: Mapping[str, str], script: str = "") -> str:
    """A self-contained page of named parts with a table of contents; an empty part says that there is nothing.

    `script` is trusted, as the templates are, and the only one that the page's policy lets run.
    """
    anchors = {name: re.sub("[^a-z0-9]+", "-", name.lower()) for name in parts}
    links = join(*(markup('<li><a href="#{}">{}</a></li>', anchors[name], name) for name in parts))
    sections = join(
        *(
            markup(
                '<section id="{}"><h2>{}</h2>{}</section>\n',
                anchors[name],
                name,
                _block(body) if body else Html('<p class="none">Nothing to show here.</p>'),
            )
            for name, body in parts.items()
        )
    )
    if "</" in script:
        raise UsageError("a report's script may not hold `</`: it would end there. Write it as `<\\/`.")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy, tag = (Html(f"; script-src 'sha256-{digest}'"), Html(f"<script>{script}</script>\n")) if script else (Html(""), Html(""))
    return markup(_PAGE, title=title, subtitle=subtitle, style=Html(CSS), links=links, sections=sections, policy=policy, script=tag)


def markup(template: str, *values: Content, **named: Content) -> Html:
    """`template` with its `{}` and `{name}` filled in by escaped values; the template itself is trusted."""
    return Html(template.format(*map(escape, values), **{name: escape(value) for name, value in named.items()}))


def escape(value: Content) -> Html:
    """`value` as markup."""
    if isinstance(value, Html):
        return value
    if isinstance(value, bool):
        return Html("yes" if value else "no")
    return Html(number(value) if value is None or isinstance(value, Real) else html.escape(str(value), quote=True))


def join(*pieces: Content) -> Html:
    """Pieces one after the other, each escaped unless it is `Html`."""
    return Html("".join(map(escape, pieces)))


def number(value: float | None, digits: int = 3) -> str:
    """`value` for reading: whole numbers in full, others with `digits` decimals below ten and fewer above; a dash for none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if not isinstance(value, Integral) and size != 0 and not 10**-digits <= size < 1e7:
        text = f"{value:.{digits}g}"
    else:
        decimals = 0 if isinstance(value, Integral) else max(0, digits - max(0, len(str(int(size))) - 1))
        text = f"{value:,.{decimals}f}".replace(",", "\u202f")
    return text.replace("-", "−")


def interval(value: float | None, lo: float | None, hi: float | None, digits: int = 3) -> Html:
    """A value with its interval behind it, in small print."""
    if lo is None or hi is None or math.isnan(lo) or math.isnan(hi):
        return escape(number(value, digits))
    return markup('{} <span class="ci">{} … {}</span>', number(value, digits), number(lo, digits), number(hi, digits))


def paragraph(*pieces: Content) -> Html:
    """A paragraph of text."""
    return markup("<p>{}</p>", join(*pieces))


def heading(text: str) -> Html:
    """A heading inside a part."""
    return markup("<h3>{}</h3>", text)


def cards(items: Iterable[tuple[str, Content, Content]]) -> Html:
    """Large numbers side by side; each is (label, value, note below it)."""
    card = '<div class="card"><div class="label">{}</div><div class="value">{}</div><div class="note">{}</div></div>'
    return markup('<div class="cards">{}</div>', join(*(markup(card, *item) for item in items)))


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], caption: str = "", best: Mapping[str, Better] | None = None) -> Html:
    """A table. Columns of numbers stand to the right; in the columns named by `best` the best number is marked."""
    body = [list(row) for row in rows]
    for row in body:
        if len(row) != len(columns):
            raise ValueError(f"a row of {len(row)} cells in a table of {len(columns)} columns: {row!r}")
    for name in best or {}:
        if name not in columns:
            raise ValueError(f"best names {name!r}, which is none of the columns {', '.join(columns)}")
    aligned, winners = [], []
    for name, cells in zip(columns, zip(*body, strict=True) if body else [()] * len(columns), strict=True):
        values = [value for value in map(_value, cells) if value is not None]
        aligned.append(Html(' class="n"') if values and all(isinstance(cell, Real | tuple | None) for cell in cells) else Html(""))
        winners.append(None if name not in (best or {}) or not values else (max if (best or {})[name] == "up" else min)(values))
    head = join(*(markup('<th scope="col"{}>{}</th>', place, name) for place, name in zip(aligned, columns, strict=True)))
    lines = (
        markup("<tr>{}</tr>", join(*(_cell(cell, place, winner) for cell, place, winner in zip(row, aligned, winners, strict=True))))
        for row in body
    )
    frame = '<div class="scroll"><table>{}<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    return markup(frame, _caption(caption), head, join(*lines))


def facts(pairs: Mapping[str, Content] | Iterable[tuple[str, Content]]) -> Html:
    """Names and values, one pair a line, the values in a fixed-width face."""
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    return markup('<dl class="facts">{}</dl>', join(*(markup("<dt>{}</dt><dd>{}</dd>", name, value) for name, value in items)))


def settings(values: Mapping[str, Any]) -> Html:
    """Names and values of any kind, as `facts`: text as it is, all else as JSON."""
    return facts(
        {name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str) for name, value in values.items()}
    )


def options(about: Mapping[str, Any], used: Mapping[str, Any], spine: Sequence[str]) -> Html:
    """The options of every asset, to open: `used` by the evaluation first, then those of the manifests in `about`, in the order of `spine`."""
    manifests = about.get("manifests", {})
    blocks = [
        details(f"Options of {name}", settings(manifests[name].get("block", {})))
        for name in sorted(manifests, key=lambda name: spine.index(name) if name in spine else len(spine))
        if manifests[name].get("block") and name != "evaluation"
    ]
    return join(details("Options of evaluation", settings(used), opened=True), *blocks)


def seconds_taken(about: Mapping[str, Any], caption: str) -> Html:
    """What each asset took to make, from the manifests in `about`; nothing where none says so."""
    rows = [[name, float(m["seconds"])] for name, m in about.get("manifests", {}).items() if m.get("seconds") is not None]
    return table(["asset", "seconds"], rows, caption) if rows else Html("")


def provenance(about: Mapping[str, Any]) -> Html:
    """The part *Provenance*: plain names and values; under `manifests` those of all upstream assets, under `versions` the libraries'."""
    manifests = about.get("manifests", {})
    keys = [[name, str(m.get("key", "")), str(m.get("digest", ""))[:16], str(m.get("code", ""))[:16]] for name, m in manifests.items()]
    versions = about.get("versions", {})
    return join(
        settings({name: value for name, value in about.items() if name not in ("manifests", "versions")}),
        table(["asset", "key", "digest", "code"], keys, "What this page rests on") if keys else "",
        details("Versions", settings(versions)) if versions else "",
    )


def code(text: str) -> Html:
    """Text as it stands: a command, a file."""
    return markup("<pre><code>{}</code></pre>", text)


def bullets(items: Iterable[Content]) -> Html:
    """A list."""
    return markup("<ul>{}</ul>", join(*(markup("<li>{}</li>", item) for item in items)))


def details(summary: str, body: str, opened: bool = False) -> Html:
    """A body that opens on a click."""
    mark = Html(" open") if opened else Html("")
    return markup('<details{}><summary>{}</summary><div class="body">{}</div></details>', mark, summary, _block(body))


def figure(uri: str, caption: str = "", alt: str = "") -> Html:
    """A picture with its caption below.

    Raises:
        UsageError: the picture is not inside the page (a `data:image/` address).
    """
    if not uri.startswith("data:image/"):
        raise UsageError(f"a report holds its pictures itself: give a data:image/ address (core.figures.data_uri), not {uri[:60]!r}.")
    below = markup("<figcaption>{}</figcaption>", caption) if caption else Html("")
    return markup('<figure><img src="{}" alt="{}">{}</figure>', uri, alt or caption, below)


def grid(figures: Iterable[str], columns: int = 4) -> Html:
    """Figures in a grid of at most `columns`; fewer where the window is narrow."""
    return markup('<div class="grid" style="--columns:{}">{}</div>', str(int(columns)), join(*figures))


def matrix(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], caption: str = "") -> Html:
    """Pictures in lines, one kind a column, as in a paper's figure: `rows` are (label, data addresses of the pictures)."""
    head = join(Html("<td></td>"), *(markup('<th scope="col">{}</th>', name) for name in columns))
    lines = []
    for label, uris in rows:
        pictures = (markup("<td>{}</td>", figure(uri, alt=f"{label}, {name}")) for name, uri in zip(columns, uris, strict=True))
        lines.append(markup('<tr><th scope="row">{}</th>{}</tr>', label, join(*pictures)))
    frame = '<div class="scroll"><table class="matrix">{}<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    return markup(frame, _caption(caption), head, join(*lines))


def badge(verdict: str) -> Html:
    """A claim's verdict, as a colour, a sign and a word."""
    kind = verdict if verdict in _SIGNS else "not_judged"
    return markup('<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>', kind, _SIGNS[kind], verdict.replace("_", " "))


def claims_table(claims: Sequence[Claim]) -> Html:
    """Claims with what was measured, against what was asked for, and the verdict."""
    if not claims:
        return Html('<p class="none">This partition has no claims.</p>')
    lines = []
    for claim in claims:
        notes = {"Measured": claim.measure, "Not judged": claim.reason, "Published": claim.published, "Source": claim.source}
        small = (markup('<div class="small">{}: {}</div>', name, note) for name, note in notes.items() if note)
        cells = (
            markup('<th scope="row">{}</th><td>{}</td>', claim.id, badge(claim.verdict)),
            markup("<td>{}{}</td>", claim.statement, join(*small)),
            markup('<td class="n">{}</td>', interval(claim.measured, claim.lo, claim.hi)),
            markup('<td class="n">{} {}</td>', _OPS[claim.op], number(claim.threshold)),
            markup("<td>{}</td>", _strip(claim)),
        )
        lines.append(markup('<tr class="{}">{}</tr>', claim.verdict, join(*cells)))
    head = '<th>Id</th><th>Verdict</th><th>Statement</th><th class="n">Measured</th><th class="n">Wanted</th><th>95 % interval</th>'
    return markup(
        '<div class="scroll"><table class="claims"><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>', Html(head), join(*lines)
    )


def intervals(rows: Sequence[Row], caption: str = "") -> Html:
    """Values with their intervals drawn on one common scale, a line each."""
    ends = [v for row in rows for v in (row.value, row.lo, row.hi) if v is not None and math.isfinite(v)]
    if not ends:
        return Html("")
    scale = _Scale.around(ends, width=320)
    lines = []
    for row in rows:
        drawing = _drawing(scale, _mark(scale, row.value, row.lo, row.hi), f"{row.label}: {number(row.value)}")
        line = '<tr{}><th scope="row">{}</th><td>{}</td><td class="n">{}</td></tr>'
        mark = Html(' class="strong"') if row.strong else Html("")
        lines.append(markup(line, mark, row.label, drawing, interval(row.value, row.lo, row.hi)))
    axis = markup('<tr class="axis"><td></td><td><span>{}</span><span>{}</span></td><td></td></tr>', number(scale.lo), number(scale.hi))
    frame = '<div class="scroll"><table class="intervals">{}<tbody>{}{}</tbody></table></div>'
    return markup(frame, _caption(caption), join(*lines), axis)


_SIGNS = {"holds": "✓", "fails": "✗", "not_judged": "–"}
_OPS = {">=": "≥", "<=": "≤", ">": ">", "<": "<"}


@dataclass(frozen=True)
class _Scale:
    """Maps values to px on a line of `width`."""

    lo: float
    hi: float
    width: int

    @classmethod
    def around(cls, values: Sequence[float], width: int) -> "_Scale":
        lo, hi = min(values), max(values)
        margin = 0.08 * (hi - lo) or max(abs(hi), 1.0) * 0.1
        return cls(lo - margin, hi + margin, width)

    def at(self, value: float) -> float:
        return round((value - self.lo) / (self.hi - self.lo) * self.width, 1)


def _strip(claim: Claim) -> Html:
    """The claim as a drawing: the side of the threshold that holds is shaded; interval and value lie over it."""
    if claim.measured is None:
        return Html("")
    scale = _Scale.around([v for v in (claim.measured, claim.lo, claim.hi, claim.threshold) if v is not None], width=150)
    at = scale.at(claim.threshold)
    start, width = (at, scale.width - at) if claim.op in (">=", ">") else (0.0, at)
    wanted = f'<rect class="wanted" x="{start:.1f}" y="2" width="{width:.1f}" height="20"/>'
    limit = f'<line class="limit" x1="{at}" x2="{at}" y1="1" y2="23"/>'
    return _drawing(
        scale,
        join(Html(wanted + limit), _mark(scale, claim.measured, claim.lo, claim.hi)),
        f"{number(claim.measured)}, wanted {claim.op} {number(claim.threshold)}",
    )


def _mark(scale: _Scale, value: float | None, lo: float | None, hi: float | None) -> Html:
    pieces = []
    if lo is not None and hi is not None and math.isfinite(lo) and math.isfinite(hi):
        pieces.append(f'<line class="range" x1="{scale.at(lo)}" x2="{scale.at(hi)}" y1="12" y2="12"/>')
    if value is not None and math.isfinite(value):
        pieces.append(f'<circle class="dot" cx="{scale.at(value)}" cy="12" r="4.5"/>')
    return Html("".join(pieces))


def _drawing(scale: _Scale, body: Html, label: str) -> Html:
    return markup(
        '<svg class="strip" viewBox="0 0 {w} 24" width="{w}" height="24" role="img" aria-label="{label}">{body}</svg>',
        w=str(scale.width),
        label=label,
        body=body,
    )


def _tally(claims: Sequence[Claim]) -> Html:
    if not claims:
        return Html("")
    counts = [(verdict, sum(claim.verdict == verdict for claim in claims)) for verdict in _SIGNS]
    return markup(
        '<p class="tally">{}</p>',
        join(*(markup('<span class="count">{} {}</span>', str(count), badge(verdict)) for verdict, count in counts if count)),
    )


def _block(body: str) -> Html:
    return body if isinstance(body, Html) else paragraph(body)


def _caption(text: str) -> Html:
    return markup("<caption>{}</caption>", text) if text else Html("")


def _value(cell: Any) -> float | None:
    """The number in a cell, None if there is none."""
    if isinstance(cell, tuple):
        cell = cell[0]
    return float(cell) if isinstance(cell, Real) and not isinstance(cell, bool) and math.isfinite(cell) else None


def _cell(cell: Cell, place: Html, winner: float | None) -> Html:
    shown = interval(*cell) if isinstance(cell, tuple) else escape(cell)
    return markup(
        "<td{}>{}</td>", place, markup('<span class="best">{}</span>', shown) if winner is not None and _value(cell) == winner else shown
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<nav aria-label="Contents"><div class="brand">tenfold</div><ol>{links}</ol></nav>
<main>
<header><h1>{title}</h1><p class="subtitle">{subtitle}</p></header>
{sections}</main>
{script}</body>
</html>
"""
