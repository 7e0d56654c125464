"""Figures and tables for the eye; what is expected was worked out by hand."""

from __future__ import annotations

import pytest

from cyrusquota.display.sizes import Unit, figure, part, percent, size
from cyrusquota.display.table import Charset, Column, Table, joined, shortened, width
from cyrusquota.quota import Resource, Usage


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        # 1023.95 KiB and more would be rounded to 1024.0 KiB.
        (1_048_524, "1023.9 KiB"),
        (1_048_525, "1.0 MiB"),
        (104_857_600, "100.0 MiB"),
        (1 << 63, "8.0 EiB"),
        (-2048, "-2.0 KiB"),
        (-5, "-5 B"),
    ],
)
def test_sizes_are_in_the_largest_unit_that_fits(number: int, shown: str) -> None:
    assert size(number) == shown


@pytest.mark.parametrize(
    ("unit", "shown"),
    [
        (Unit.BYTES, "1610612736"),
        (Unit.KIB, "1572864.0 KiB"),
        (Unit.MIB, "1536.0 MiB"),
        (Unit.GIB, "1.5 GiB"),
        (Unit.TIB, "0.0 TiB"),
    ],
)
def test_the_unit_may_be_chosen(unit: Unit, shown: str) -> None:
    assert size(1_610_612_736, unit) == shown


def test_what_is_counted_has_no_unit() -> None:
    assert figure(Resource.MESSAGE, 2048) == "2048"
    assert figure(Resource.MAILBOX, 2048, Unit.KIB) == "2048"
    assert figure(Resource.ANNOTATION_STORAGE, 2048) == "2.0 KiB"


@pytest.mark.parametrize(
    ("used", "limit", "shown"),
    [
        (5, None, "-"),
        (0, 100, "0%"),
        (-5, 100, "0%"),
        (29, 100, "29%"),
        ((1 << 53) - 1, 1 << 53, "99%"),
        (1 << 53, 1 << 53, "100%"),
        ((1 << 53) + 1, 1 << 53, "101%"),
        (110, 100, "110%"),
        (999, 100, "999%"),
        (1000, 100, ">999%"),
        (0, 0, "100%"),
        (1, 0, ">999%"),
        (5, -1024, ">999%"),
    ],
)
def test_only_what_is_exactly_full_is_at_100_percent(used: int, limit: int, shown: str) -> None:
    assert percent(Usage(used, limit)) == shown


def test_parts() -> None:
    assert part(1, 3) == "33.3%"
    assert part(0, 0) == "-"


@pytest.mark.parametrize(
    ("text", "columns"), [("jane", 4), ("caf\u00e9", 4), ("cafe\u0301", 4), ("\u732b", 2), ("", 0)]
)
def test_width_is_that_on_a_terminal(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "room", "ellipsis", "shown"),
    [
        ("user.jane", 9, "\u2026", "user.jane"),
        ("user.jane", 8, "\u2026", "user\u2026ane"),
        ("user.jane", 7, "...", "us...ne"),
        ("user.jane", 2, "...", ".."),
        ("user.jane", 0, "...", ""),
        # One sign of two columns does not fit into one.
        ("\u732b\u732b\u732b", 4, "\u2026", "\u732b\u2026"),
    ],
)
def test_names_are_shortened_in_the_middle(text: str, room: int, ellipsis: str, shown: str) -> None:
    assert shortened(text, room, ellipsis) == shown


COLUMNS = (
    Column("USE"),
    Column("STATE", to_right=False, spare=True),
    Column("LIMIT"),
    Column("ROOT", to_right=False),
)
ROWS = [joined(("5%", "", "1.0 KiB", "user.jane")), joined(("100%", "over", "-", "user.bob"))]


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    assert list(Table(COLUMNS).lines(ROWS)) == [
        " USE  STATE    LIMIT  ROOT",
        "  5%         1.0 KiB  user.jane",
        "100%  over         -  user.bob",
    ]


@pytest.mark.parametrize(
    ("room", "line"),
    [
        (31, "  5%         1.0 KiB  user.jane"),
        (30, "  5%  1.0 KiB  user.jane"),
        (23, "  5%  user.jane"),
        (14, "user.jane"),
        (8, "user\u2026ane"),
        (1, "\u2026"),
    ],
)
def test_spare_columns_go_first_and_the_name_last(room: int, line: str) -> None:
    assert list(Table(COLUMNS).lines(ROWS, room))[1] == line


def test_rows_may_be_coloured() -> None:
    table = Table(COLUMNS, styled=lambda cells, line: f"<{line}>" if cells[1] else line)
    assert list(table.lines(ROWS))[2] == "<100%  over         -  user.bob>"


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("utf-8", "caf\u00e9\udcfc\x1b[2J\n\u202e", "caf\u00e9\\xfc\\x1b[2J\\n\\u202e"),
        ("ascii", "caf\u00e9", "caf\\xe9"),
        ("latin-1", "caf\u00e9\u732b", "caf\u00e9\\u732b"),
    ],
)
def test_nothing_reaches_a_terminal_that_it_would_act_on_or_cannot_show(
    encoding: str, text: str, shown: str
) -> None:
    assert Charset(encoding).safe(text) == shown


def test_the_ellipsis_is_one_that_can_be_shown() -> None:
    assert (Charset("utf-8").ellipsis, Charset("ascii").ellipsis) == ("\u2026", "...")
