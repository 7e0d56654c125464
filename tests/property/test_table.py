"""Whatever is in a table, no line is wider than asked for; what is in csv is read back."""

from __future__ import annotations

import csv
import io
from typing import Optional

from hypothesis import given
from hypothesis import strategies as st

from cyrusquota.cli.list_formats import CsvFormat, EvaluatedRoot, TableFormat
from cyrusquota.cli.terminal import Terminal
from cyrusquota.cyrus.names import Naming
from cyrusquota.display.report_model import user_or_root
from cyrusquota.display.sizes import Unit
from cyrusquota.display.table import Charset, shortened, width
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.strategies import quota_roots
from cyrusquota.verdicts.policies import LMTPD

_text = st.text(max_size=60)
_charset = st.sampled_from(["utf-8", "ascii", "latin-1", "cp437"]).map(Charset)


def _listed(root: QuotaRoot) -> EvaluatedRoot:
    return EvaluatedRoot(root, root, LMTPD.over(root))


@given(
    st.lists(quota_roots(), max_size=6),
    st.integers(1, 120),
    st.sampled_from(Unit),
    _charset,
)
def test_a_table_is_never_wider_than_its_terminal(
    roots: list[QuotaRoot], room: int, unit: Unit, charset: Charset
) -> None:
    form = TableFormat(Terminal(width=room, charset=charset), unit)
    lines = list(form.lines([form.row(_listed(root)) for root in roots]))
    assert len(lines) == (len(roots) + 1 if roots else 0)
    for line in lines:
        assert line.endswith("\n")
        assert line[:-1].isprintable()
        assert width(line[:-1]) <= room
        line.encode(form.encoding)


@given(st.lists(quota_roots(), min_size=1, max_size=6), _charset)
def test_without_a_width_names_are_whole(roots: list[QuotaRoot], charset: Charset) -> None:
    form = TableFormat(Terminal(charset=charset), Unit.AUTO)
    lines = list(form.lines([form.row(_listed(root)) for root in roots]))
    for root, line in zip(roots, lines[1:]):
        assert line.endswith(f"  {charset.safe(user_or_root(root.name, Naming()))}\n")


@given(_text, st.integers(0, 70), st.sampled_from(["\u2026", "..."]))
def test_what_is_shortened_fits_and_keeps_both_ends(text: str, room: int, ellipsis: str) -> None:
    shown = shortened(text, room, ellipsis)
    assert width(shown) <= room
    if shown != text:
        head, mark, tail = shown.rpartition(ellipsis)
        assert mark or room < len(ellipsis) + 1
        assert not mark or (text.startswith(head) and text.endswith(tail))


@given(st.lists(quota_roots(), max_size=6))
def test_csv_is_read_back_as_it_was(roots: list[QuotaRoot]) -> None:
    form = CsvFormat()
    text = "".join(form.lines([form.row(_listed(root)) for root in roots]))
    data = text.encode(form.encoding, "surrogateescape")
    lines = io.StringIO(data.decode(form.encoding, "surrogateescape"), newline="")
    assert list(map(_root, csv.DictReader(lines))) == roots


def _root(cells: dict[str, str]) -> QuotaRoot:
    def usage(kind: Resource) -> Usage:
        column = kind.value.lower().replace("-", "_")
        return Usage(int(cells[f"{column}_used"]), _number(cells[f"{column}_limit"]))

    return QuotaRoot.of(cells["root"], {kind: usage(kind) for kind in Resource})


def _number(cell: str) -> Optional[int]:
    return int(cell) if cell else None


@given(quota_roots())
def test_csv_on_a_terminal_is_printable(root: QuotaRoot) -> None:
    assert CsvFormat(is_for_terminal=True).row(_listed(root)).rstrip("\r\n").isprintable()
