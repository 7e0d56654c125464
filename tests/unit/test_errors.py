"""Errors: exit statuses, places, and text that is one line whatever bytes it quotes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyrusquota import errors
from cyrusquota.errors import (
    BadDump,
    BadReport,
    BadValue,
    CannotCreateMap,
    ConfigError,
    CyrusQuotaError,
    DamagedDatabase,
    EximError,
    ForeignMap,
    MapError,
    MapForbidden,
    NoSuchMap,
    NoSuchSource,
    NoSuchUser,
    OptionError,
    Place,
    SourceError,
    SourceForbidden,
    UnsupportedBackend,
)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (OptionError, 64),
        (BadValue, 65),
        (BadReport, 65),
        (BadDump, 65),
        (DamagedDatabase, 65),
        (ForeignMap, 65),
        (NoSuchSource, 66),
        (NoSuchMap, 66),
        (NoSuchUser, 67),
        (EximError, 69),
        (UnsupportedBackend, 69),
        (CannotCreateMap, 73),
        (MapError, 74),
        (SourceError, 74),
        (MapForbidden, 77),
        (SourceForbidden, 77),
        (ConfigError, 78),
    ],
)
def test_each_kind_has_the_exit_status_of_sysexits(
    kind: type[CyrusQuotaError], status: int
) -> None:
    assert kind.exit_status == status
    assert issubclass(kind, CyrusQuotaError)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place(), ""),
        (Place("quotas.db"), "quotas.db"),
        (Place("-", line=3, column=7), "-, line 3, column 7"),
        (Place("quotas.db", offset=64), "quotas.db, offset 64"),
        (Place("q", key=b"user.m\xfcller\n"), "q, quota root 'user.m\\xfcller\\n'"),
    ],
)
def test_a_place_reads_from_the_file_inwards(place: Place, text: str) -> None:
    assert str(place) == text


def test_a_message_says_where_what_and_what_to_do() -> None:
    error = BadDump(
        "KEY TAB VALUE", place=Place("dump", line=2), found=b"a\x1bb", advice="make it again"
    )
    assert str(error) == "dump, line 2: expected KEY TAB VALUE, found 'a\\x1bb'; make it again"


def test_found_bytes_are_cut_around_the_spot() -> None:
    error = BadValue("x", place=Place(column=501), found=b"a" * 500 + b"!" + b"b" * 500)
    found = str(error)
    assert "..." in found
    assert "a!b" in found
    assert len(found) < 120


def test_the_caret_stands_below_the_spot_also_behind_escapes() -> None:
    error = BadValue("x", place=Place(column=3), found=b"a\xff!")
    assert error.caret == "a\\xff!\n     ^"


def test_without_a_column_there_is_no_caret() -> None:
    assert BadValue("x", found=b"a").caret == ""


def test_an_error_can_be_told_its_place_later() -> None:
    error = BadValue("x", place=Place(column=3), found=b"abc", advice="y").at(Place("f", key=b"k"))
    assert isinstance(error, BadValue)
    assert error.place == Place("f", column=3, key=b"k")
    assert (error.expected, error.found, error.advice) == ("x", b"abc", "y")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError(2, "No such file"), NoSuchSource),
        (NotADirectoryError(20, "Not a directory"), NoSuchSource),
        (PermissionError(13, "Permission denied"), SourceForbidden),
        (OSError(5, "Input/output error"), SourceError),
    ],
)
def test_system_errors_become_the_kind_that_fits(
    error: OSError, kind: type[SourceError], tmp_path: Path
) -> None:
    found = errors.source_error(error, tmp_path / "quotas.db")
    assert type(found) is kind
    assert "quotas.db" in str(found)


def test_a_missing_path_names_its_first_missing_directory(tmp_path: Path) -> None:
    found = errors.source_error(FileNotFoundError(2, ""), tmp_path / "a" / "b" / "quotas.db")
    assert f"({tmp_path}/a does not exist)" in str(found)
