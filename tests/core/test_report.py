import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core import claims, figures, report
from tenfold.core.errors import UsageError
from tenfold.core.report import Html

PARTS = ["Verdict", "Claims", "Numbers", "Pictures", "How it works", "Data", "Cost", "Provenance"]
PICTURE = figures.image_uri(np.zeros((4, 4), np.uint8))
OUTSIDE = re.compile(
    r"""(?:src|href|srcset|action|poster|data)\s*=\s*["']?\s*(?:https?:)?//|url\(\s*["']?\s*(?:https?:)?//|@import""", re.I
)


class Reader(HTMLParser):
    """What a browser would see: tags that are left open or closed twice fail."""

    VOID = {"meta", "img", "br", "rect", "line", "circle"}

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: dict[str, list[str]] = {}
        self.words = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.words += data
        self.texts.setdefault(self._open[-1] if self._open else "", []).append(data)


def claim(**changes: Any) -> claims.Claim:
    options: dict[str, Any] = {
        "id": "C1", "statement": "better than a bank", "scope": "partition", "measure": "AUPRO@30", "measured": 0.05,
        "lo": 0.03, "hi": 0.07, "op": ">=", "threshold": 0.02, "seeds": [0], "published": "0.971 [recalled]", "source": "Table 1",
    }  # fmt: skip
    return claims.judge(**options | changes)


def page(text: str = "words") -> report.Page:
    """A page on which `text` stands in every place that takes text."""
    judged = [
        claim(id=text, statement=text, measure=text, published=text, source=text),
        claim(measured=0.0),
        claim(measured=None, reason=text),
    ]
    return report.Page(
        title=text,
        subtitle=text,
        verdict=text,
        claims=judged,
        numbers=report.join(
            report.cards([(text, text, text), (text, 0.91, report.interval(0.9, 0.8, 1.0))]),
            report.table([text, "value"], [[text, 0.5], ["b", (0.7, 0.6, 0.8)]], caption=text, best={"value": "up"}),
            report.intervals([report.Row(text, 0.5, 0.4, 0.6, strong=True), report.Row("b", 0.3)], caption=text),
        ),
        pictures=report.join(
            report.grid([report.figure(PICTURE, text, text)], columns=3), report.matrix([text], [(text, [PICTURE])], caption=text)
        ),
        how=report.join(report.heading(text), report.paragraph(text, report.markup("<b>{}</b>", text)), report.bullets([text])),
        data=report.details(text, text, opened=True),
        cost=text,
        provenance=report.join(report.facts({text: text}), report.code(text), report.badge("holds")),
    )


def test_the_parts_stand_in_their_order_and_in_the_contents() -> None:
    reader = Reader(report.render(page()))
    assert reader.texts["h2"] == PARTS
    assert reader.texts["a"] == PARTS
    anchors = [value for tag, name, value in reader.attributes if (tag, name) == ("section", "id")]
    assert [value for tag, name, value in reader.attributes if (tag, name) == ("a", "href")] == [f"#{anchor}" for anchor in anchors]
    assert reader.texts["h1"] == reader.texts["title"] == ["words"]


def test_a_part_without_content_says_so() -> None:
    empty = report.Page("t", "", "v", [], *[""] * 6)
    assert Reader(report.render(empty)).texts["p"].count("Nothing to show here.") == 6
    assert Reader(report.render(empty)).texts["h2"] == PARTS


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=http://evil.example/x.png onerror=alert(1)>', "' onmouseover='alert(1)", "</style></title><h2>",
    "{0.__class__} {} {x}", "&lt;b&gt; & <!-- ", "<style>@import url(http://evil.example/a.css)</style>",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_text(text: str) -> None:
    plain, hostile = Reader(report.render(page())), Reader(report.render(page(text)))
    assert hostile.tags == plain.tags
    assert "script" not in hostile.tags
    assert not [name for _, name, _ in hostile.attributes if name.startswith("on")]
    assert hostile.words.count(text) == plain.words.count("words") > 20
    assert (("img", "alt", text)) in hostile.attributes


@given(st.text(max_size=30))
@settings(max_examples=50, deadline=None)
def test_any_text_comes_back_as_it_was(text: str) -> None:
    text = text.replace("\r", "").replace("\0", "")
    assert Reader(report.paragraph(text, report.markup("<b>{}</b>{x}", text, x=text))).words == text * 3


@pytest.mark.parametrize("text", ["words", *HOSTILE[:3]])
def test_nothing_comes_from_outside(text: str) -> None:
    content = report.render(page(text))
    reader = Reader(content)
    addresses = [value or "" for _, name, value in reader.attributes if name in ("src", "href", "srcset", "action", "poster", "xlink:href")]
    assert len(addresses) == len(PARTS) + 2
    assert all(address.startswith(("#", "data:image/")) for address in addresses)
    assert not OUTSIDE.search(report.CSS)
    if text == "words":
        assert not OUTSIDE.search(content)
    policy = [value for tag, name, value in reader.attributes if tag == "meta" and name == "content" and value and "default-src" in value]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


@pytest.mark.parametrize("uri", ["http://evil.example/x.png", "//evil.example/x.png", "figures/x.png", "data:text/html,x"])
def test_a_picture_must_be_inside_the_page(uri: str) -> None:
    with pytest.raises(UsageError, match="holds its pictures itself"):
        report.figure(uri)


def test_plain_strings_joined_to_markup_are_escaped_again() -> None:
    assert report.join(Html("<b>a</b>") + "<i>") == "&lt;b&gt;a&lt;/b&gt;&lt;i&gt;"
    assert report.join(Html("<b>a</b>"), "<i>") == "<b>a</b>&lt;i&gt;"


def test_verdicts_have_a_colour_and_a_word() -> None:
    made = [claim(), claim(measured=0.0), claim(measured=None, reason="needs two units")]
    reader = Reader(report.claims_table(made))
    classes = [value for tag, name, value in reader.attributes if tag == "span" and name == "class" and value and "badge" in value]
    assert classes == ["badge holds", "badge fails", "badge not_judged"]
    assert [text.strip() for text in reader.texts["span"] if text.strip() in ("holds", "fails", "not judged")] == [
        "holds",
        "fails",
        "not judged",
    ]
    assert "needs two units" in reader.words
    assert "0.971 [recalled]" in reader.words
    for kind in ("holds", "fails", "not_judged"):
        assert f".badge.{kind} {{ color: var(" in report.CSS


def test_the_drawing_of_a_claim_puts_the_value_on_its_side_of_the_limit() -> None:
    for op, measured in ((">=", 3.0), (">=", 1.0), ("<=", 3.0), ("<=", 1.0)):
        made = claim(op=op, measured=measured, lo=None, hi=None, threshold=2.0)
        attributes = {(tag, name): value for tag, name, value in Reader(report.claims_table([made])).attributes}
        dot, limit = float(attributes["circle", "cx"] or 0), float(attributes["line", "x1"] or 0)
        start, width = float(attributes["rect", "x"] or 0), float(attributes["rect", "width"] or 0)
        assert (dot > limit) == (measured > 2)
        assert (start <= dot <= start + width) == (made.verdict == "holds")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"), (float("nan"), "–"), (float("inf"), "∞"), (0, "0"), (0.0, "0.000"), (7, "7"), (12_345, "12\u202f345"), (0.95, "0.950"),
        (-0.5, "−0.500"), (12.3456, "12.35"), (438.12, "438.1"), (1234.5, "1\u202f234"), (1e-5, "1e−05"), (2.5e9, "2.5e+09"),
        (np.float32(0.25), "0.250"), (np.int64(1200), "1\u202f200"), (True, "yes"), (False, "no"),
    ],
)  # fmt: skip
def test_numbers_for_reading(value: Any, shown: str) -> None:
    assert report.escape(value) == shown


def test_a_value_without_an_interval_has_none() -> None:
    assert report.interval(0.5, None, 0.6) == "0.500"
    assert report.interval(0.5, 0.4, float("nan")) == "0.500"
    assert Reader(report.interval(0.5, 0.4, 0.6)).words == "0.500 0.400 … 0.600"


def test_the_best_number_of_a_column_is_marked() -> None:
    rows = [["a", 0.5, 9, "fast"], ["b", (0.7, 0.6, 0.8), 3, 4], ["c", None, float("nan"), "-"]]
    reader = Reader(report.table(["method", "auroc", "ms", "mixed"], rows, best={"auroc": "up", "ms": "down"}))
    assert [text for text in reader.texts["span"] if text.strip() in ("0.700 ", "0.700", "0.500", "9", "3")] == ["0.700 ", "3"]
    right = [value for tag, name, value in reader.attributes if (tag, name) == ("th", "class")]
    assert right == ["n", "n"]
    with pytest.raises(ValueError, match="a row of 1 cells in a table of 2"):
        report.table(["a", "b"], [["x"]])
    with pytest.raises(ValueError, match="best names 'auc'"):
        report.table(["a", "b"], [["x", 1]], best={"auc": "up"})


def test_intervals_share_one_scale() -> None:
    reader = Reader(report.intervals([report.Row("a", 1.0, 0.5, 1.5), report.Row("b", 2.0), report.Row("c", None)]))
    dots = [float(value or 0) for tag, name, value in reader.attributes if (tag, name) == ("circle", "cx")]
    ends = [float(value or 0) for tag, name, value in reader.attributes if (tag, name) in (("line", "x1"), ("line", "x2"))]
    assert len(dots) == 2
    assert 0 < ends[0] < dots[0] < ends[1] < dots[1] < 320
    assert report.intervals([report.Row("a", None)]) == ""


def test_the_same_page_is_the_same_text() -> None:
    assert report.render(page()) == report.render(page())


def test_claims_reports_and_figures_load_nothing_heavy() -> None:
    program = (
        "import sys, tenfold.core.claims, tenfold.core.report, tenfold.core.figures, tenfold.core.journal;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'numpy', 'matplotlib', 'PIL', 'pandas', 'pyarrow'}))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_page_of_other_parts() -> None:
    reader = Reader(report.shell("Scoreboard <x>", "all", {"papers · demo": report.paragraph("a"), "AUPRO @ 30 %": "", "<i>": "b"}))
    assert reader.texts["h2"] == reader.texts["a"] == ["papers · demo", "AUPRO @ 30 %", "<i>"]
    anchors = [value for tag, name, value in reader.attributes if (tag, name) == ("section", "id")]
    assert [value for tag, name, value in reader.attributes if (tag, name) == ("a", "href")] == [f"#{anchor}" for anchor in anchors]
    assert len(set(anchors)) == 3
    assert reader.texts["p"] == ["all", "a", "Nothing to show here.", "b"]


def test_provenance_names_what_a_page_rests_on() -> None:
    about = {
        "partition": "demo",
        "seeds": [0, 1],
        "manifests": {"model": {"key": "k1", "digest": "d" * 40, "code": "c" * 40, "seconds": 2.5}, "dataset": {"key": "<k0>"}},
        "versions": {"numpy": "2.0"},
    }
    html = report.provenance(about)
    assert "<dt>partition</dt><dd>demo</dd>" in html and "<dd>[0, 1]</dd>" in html
    assert "d" * 16 in html and "d" * 17 not in html and "&lt;k0&gt;" in html
    assert "<summary>Versions</summary>" in html and "<dt>numpy</dt><dd>2.0</dd>" in html
    assert "2.50" in report.seconds_taken(about, "Made in") and report.seconds_taken({}, "Made in") == ""
    bare = report.provenance({"partition": "demo"})
    assert "Versions" not in bare and "<table" not in bare


def test_options_stand_in_the_order_of_the_spine() -> None:
    about = {
        "manifests": {
            "model": {"block": {"lr": 0.1}},
            "dataset": {"block": {"side": 8}},
            "extra": {"block": {}},
            "evaluation": {"block": {"x": 1}},
        }
    }
    html = report.options(about, {"seeds": [0]}, ["dataset", "model"])
    assert re.findall("Options of ([a-z]+)", html) == ["evaluation", "dataset", "model"]
    assert html.count("<details open>") == 1 and "<dd>[0]</dd>" in html


def test_a_script_that_was_given_runs_and_no_other() -> None:
    script = "document.title = 'a' + 1;\nif (1 < 2) { let x = `</`.length; }".replace("</", "<\\/")
    page = report.shell("t", "s", {"One": report.paragraph("<script>bad()</script>")}, script)
    policy = re.search(r"default-src[^\"]*", page)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy and policy.group().endswith(f"; script-src 'sha256-{digest}'")
    assert page.count("<script>") == 1 and f"<script>{script}</script>\n</body>" in page
    assert "script-src" not in report.shell("t", "s", {}) and "<script" not in report.shell("t", "s", {})
    with pytest.raises(UsageError, match="may not hold"):
        report.shell("t", "s", {}, "x = '</script>'")
