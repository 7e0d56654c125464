"""A map in place, read back: its format, its header, its age, and what it says of somebody."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest

from cyrusquota import maps
from cyrusquota.errors import ForeignMap, MapError, MapForbidden, NoSuchMap
from cyrusquota.maps import FORMATS, Entry, MapHeader
from cyrusquota.maps.installed import installed_map

HEADER = (
    "Written by cyrusquota-export 0.1.0; do not edit, the next run replaces it.",
    "source: /var/lib/cyrus/quotas.db",
    "policy: lmtpd",
    "since: 2026-01-31T12:00:00+0100",
    "roots: 4711",
    "entries: 2",
    "near: 1",
)
TEXT = "4.2.2 Full: come back later."


def _put(path: Path, form: str, *keys: str, header: tuple[str, ...] = HEADER) -> Path:
    value = FORMATS[form].deferral(TEXT)
    entries = [Entry(key.encode("utf-8", "surrogateescape"), value) for key in keys]
    path.write_bytes(FORMATS[form].document(entries, header))
    return path


@pytest.mark.parametrize("form", list(FORMATS))
def test_a_map_of_each_format_is_recognized_and_says_what_it_says(
    form: str, tmp_path: Path
) -> None:
    found = installed_map(_put(tmp_path / "map", form, "bob@example.org", "jane"))
    assert found.format == form
    assert found.header.policy == "lmtpd"
    assert found.header.roots == 4711
    assert found.entries == 2 == len(found.keys)
    assert found.value("jane") == FORMATS[form].deferral(TEXT)
    assert found.value("Bob@Example.org") == FORMATS[form].deferral(TEXT)
    assert found.value("bob") is None
    assert found.value("ane") is None
    assert found.value("") is None


@pytest.mark.parametrize("form", FORMATS)
def test_a_whole_map_can_be_written_from_the_library(form: str, tmp_path: Path) -> None:
    since = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone.utc)
    header = MapHeader("/q: db", "lmtpd", since, roots=4711, near=0)
    jane = Entry(b"jane", FORMATS[form].deferral(TEXT))
    path = tmp_path / "map"
    path.write_bytes(maps.document(FORMATS[form], [jane], header))
    found = installed_map(path)
    assert found.header == MapHeader("/q: db", "lmtpd", since, 4711, entries=1, near=0)
    assert found.value("jane") == jane.value


ODD = ["a.b+c", "two words", 'quo"te', "a:b", "a$b", "m\u00fcller"]


@pytest.mark.parametrize(
    ("form", "key"),
    [*((form, key) for form in FORMATS for key in ODD), ("lsearch", "\udcfc"), ("cdb", "\udcfc")],
)
def test_keys_are_found_however_the_format_spells_them(form: str, key: str, tmp_path: Path) -> None:
    found = installed_map(_put(tmp_path / "map", form, key))
    assert found.format == form
    assert found.value(key) == FORMATS[form].deferral(TEXT)
    assert found.value(f"x{key}") is None


@pytest.mark.parametrize("form", ["lsearch", "cdb"])
def test_a_map_without_entries_is_a_map(form: str, tmp_path: Path) -> None:
    found = installed_map(_put(tmp_path / "map", form, header=(*HEADER[:5], "entries: 0")))
    assert (found.format, found.entries) == (form, 0)


def test_the_time_of_the_file_is_its_age_and_the_header_says_since_when(tmp_path: Path) -> None:
    path = _put(tmp_path / "map", "lsearch", "jane")
    os.utime(path, (1000, 1000))
    found = installed_map(path)
    assert (found.renewed, found.age(1600)) == (1000, 600)
    assert found.age() > 1_000_000
    assert found.header.since is not None
    assert found.header.since.astimezone(datetime.timezone.utc).isoformat() == (
        "2026-01-31T11:00:00+00:00"
    )


def test_a_map_by_an_older_version_may_lack_what_newer_ones_say(tmp_path: Path) -> None:
    path = _put(tmp_path / "map", "lsearch", "a", "b", "c", header=(HEADER[0], "since: once"))
    found = installed_map(path)
    assert (found.header.since, found.entries, found.header.near) == (None, 3, None)


def test_a_link_leads_to_the_map(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(_put(tmp_path / "map", "lsearch", "jane"))
    assert installed_map(link).entries == 2


@pytest.mark.parametrize(
    "content",
    [b"jane: :defer: x\n", b"\0" * 4096],
)
def test_what_is_none_of_ours_is_no_map(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_bytes(content)
    with pytest.raises(ForeignMap, match="not written by") as error:
        installed_map(path)
    assert error.value.exit_status == 65


def test_an_empty_file_is_no_map(tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_bytes(b"")
    with pytest.raises(NoSuchMap, match=r"is empty.*; write it: cyrusquota-export"):
        installed_map(path)


def test_a_directory_is_no_map(tmp_path: Path) -> None:
    with pytest.raises(ForeignMap, match="not a plain file"):
        installed_map(tmp_path)


def test_without_a_map_the_command_that_writes_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoSuchMap, match=r"cyrusquota-export -o '.*/no map'") as error:
        installed_map(tmp_path / "no map")
    assert error.value.exit_status == 66


def test_a_map_that_may_not_be_read_is_forbidden(tmp_path: Path, as_ordinary_user: None) -> None:
    with pytest.raises(MapForbidden, match="run as root") as error:
        installed_map(tmp_path / "forbidden")
    assert error.value.exit_status == 77


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(MapError, match=r"such a name|too long"):
        installed_map(tmp_path / name)
