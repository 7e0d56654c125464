"""Whatever names and figures a site has, its report fits and its page is well formed."""

from __future__ import annotations

import datetime
import html.parser
import re
import xml.etree.ElementTree as ElementTree

from hypothesis import given
from hypothesis import strategies as st

from cyrusquota import strategies
from cyrusquota.cyrus.names import Naming
from cyrusquota.display import page
from cyrusquota.display.report_model import ReportModel, user_or_root
from cyrusquota.display.table import Charset, width
from cyrusquota.display.text import Text, bar
from cyrusquota.errors import CyrusQuotaError, printable
from cyrusquota.quota import QuotaRoot, Usage
from cyrusquota.verdicts.evaluator import Query, evaluate_roots
from cyrusquota.verdicts.summary import Summary

_WHEN = datetime.datetime(2020, 2, 29, 23, 59, tzinfo=datetime.timezone.utc)
_NASTY = (
    "<b>",
    "&amp;",
    "\"'",
    "]]>",
    "-->",
    "</style>",
    "\u202e\x1b[2J",
    "\ufffe",
    "\ud800",
    "a\tb",
)
_name = st.sampled_from(["user.{}", "{}!user.jane", "user.jane@{}", "{}"]).flatmap(
    lambda form: (st.sampled_from(_NASTY) | st.text(max_size=20)).map(form.format)
)
_root = strategies.quota_roots() | st.builds(
    QuotaRoot, _name, st.builds(Usage, st.integers(0, 20), st.none() | st.integers(0, 20))
)
_charset = st.sampled_from(["utf-8", "ascii", "latin-1", "cp437"]).map(Charset)


@st.composite
def _overviews(draw: st.DrawFn) -> ReportModel:
    summary = Summary(keep=draw(st.integers(0, 5)))
    problems: list[CyrusQuotaError] = []
    roots = summary.passing(draw(st.lists(_root, max_size=6)))
    return ReportModel(
        source=draw(st.text(max_size=60)),
        policy="lmtpd",
        when=_WHEN,
        refused=list(
            evaluate_roots(roots, Query(Naming(downcase=False), on_problem=problems.append))
        ),
        summary=summary,
        inboxes=draw(st.none() | st.integers(0, 99)),
        problems=len(problems),
        rows=draw(st.integers(0, 5)),
        naming=Naming(defaultdomain=draw(st.none() | _name)),
    )


@given(_overviews(), st.integers(1, 120), _charset)
def test_no_line_is_wider_than_the_terminal(
    report: ReportModel, room: int, charset: Charset
) -> None:
    for line in Text(room, charset).lines(report):
        assert width(line) <= room
        assert line.isprintable()
        line.encode(charset.encoding)


@given(_overviews())
def test_in_a_file_names_are_whole(report: ReportModel) -> None:
    lines = "\n".join(Text().lines(report))
    for full in report.fullest():
        assert f"  {printable(user_or_root(full.root.name, report.naming))}" in lines


@given(_overviews())
def test_the_page_is_well_formed_and_shows_names_as_they_are(report: ReportModel) -> None:
    document = page.document(report)
    content = document.encode()
    assert page.is_ours(content)
    root = ElementTree.fromstring(content)
    assert {re.sub(r"\{.*\}", "", each.tag) for each in root.iter()} <= _ELEMENTS
    shown = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/1999/xhtml}bdi")]
    for full in report.fullest():
        assert printable(user_or_root(full.root.name, report.naming)) in shown
    _Balanced().feed(document)


_ELEMENTS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "main",
    "header",
    "h1",
    "h2",
    "p",
    "dl",
    "div",
    "dt",
    "dd",
    "section",
    "svg",
    "desc",
    "line",
    "rect",
    "text",
    "table",
    "caption",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "span",
    "bdi",
    "wbr",
}


class _Balanced(html.parser.HTMLParser):
    """Fails where a browser would have to guess what ends where."""

    def __init__(self) -> None:
        super().__init__()
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        # Only these need no end in HTML, and the elements of SVG.
        assert tag in ("meta", "wbr") or "svg" in self._open

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


@given(st.floats(0, 1), st.integers(0, 100), _charset)
def test_bars_fit_and_show_whatever_is_not_nothing(
    share: float, room: int, charset: Charset
) -> None:
    drawn = bar(share, room, charset)
    assert len(drawn) <= room
    assert bool(drawn) == (share > 0 and room > 0)
    assert len(drawn) >= int(share * room)
