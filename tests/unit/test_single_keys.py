"""Looking up single keys: what is read, and what is left to the plain reader."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Callable, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import database
from cyrusquota.cyrusdb.skiplist import lookup as skiplist
from cyrusquota.cyrusdb.twom import lookup as twom
from cyrusquota.cyrusdb.twoskip import lookup as twoskip
from cyrusquota.explain.rows import inboxes_named, roots_named
from cyrusquota.site import source
from cyrusquota.site.mailboxes import inboxes, row_keys
from cyrusquota.site.site import Site
from cyrusquota.strategies.writers import Writer
from cyrusquota.strategies.writers.skiplist import SkiplistWriter
from cyrusquota.strategies.writers.twom import NULL, TwomWriter
from cyrusquota.strategies.writers.twoskip import TwoskipWriter
from tests.recorded_fixtures import FIXTURES

Values = Optional[dict[bytes, Optional[bytes]]]
LOOKUPS: dict[str, Callable[[Path, set[bytes]], Values]] = {
    "skiplist": skiplist.lookup,
    "twom": twom.lookup,
    "twoskip": twoskip.lookup,
}
WRITERS: dict[str, Callable[[Path], Writer]] = {
    "skiplist": SkiplistWriter,
    "twom": TwomWriter,
    "twoskip": TwoskipWriter,
}
RECORDS = {b"user.name%03d" % number: b"%d 10" % number for number in range(300)}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PAUSE", 0)


def _written(backend: str, path: Path) -> Writer:
    writer = WRITERS[backend](path / "quotas.db")
    writer.begin()
    for key, value in RECORDS.items():
        writer.set(key, value)
    writer.commit()
    writer.repack()
    return writer


def _no_other_way(*arguments: object, **options: object) -> None:
    raise AssertionError("everything was read")


@pytest.mark.parametrize("backend", LOOKUPS)
def test_few_records_are_read(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read, pread = _written(backend, tmp_path).path, set[int](), os.pread

    def noted(descriptor: int, length: int, offset: int) -> bytes:
        read.add(offset)
        return pread(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", noted)
    assert LOOKUPS[backend](path, {b"user.name123"}) == {b"user.name123": b"123 10"}
    assert LOOKUPS[backend](path, {b"user.name123x"}) == {b"user.name123x": None}
    assert 4 < len(read) < len(RECORDS) // 3


@pytest.mark.parametrize("backend", LOOKUPS)
def test_each_recorded_root_is_found_without_reading_the_others(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = source.from_database(FIXTURES / "main" / backend / "quotas.db")
    everything = {root.name: root for root in whole.roots(lambda problem: None)}
    monkeypatch.setattr(cyrusdb, "select", _no_other_way)
    for name in ("user.jane", "user.bob", "user.nobody", "example.org!user.jane"):
        found = roots_named(whole, {name}, lambda problem: None)
        assert found == {key: root for key, root in everything.items() if key == name}


def test_each_recorded_inbox_is_found_without_reading_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = FIXTURES / "mailboxes"
    files = sorted([base / "mailboxes-3.6.1" / "mailboxes.db", *base.glob("*-old/*t*skip*.db")])
    files += sorted(base.glob("*-old/*skiplist*.db"))
    before = [(Site.from_mailboxes(file), file) for file in files]
    known = [(site, list(site.inboxes())) for site, _ in before]
    assert sum(len(rows) for _, rows in known) > 20
    monkeypatch.setattr(cyrusdb, "select", _no_other_way)
    for site, rows in known:
        for inbox in rows:
            assert inbox in list(inboxes_named(site, {inbox.name}, _fail))
        assert list(inboxes_named(site, {"user.nobody"}, _fail)) == []


def _fail(problem: Exception) -> None:
    raise problem


_components = st.text("ab^@-", min_size=1, max_size=3)
_modern = st.builds(
    lambda domain, user: (f"N{domain}\x1d" if domain else "N") + f"user\x1f{user}",
    st.sampled_from(["", "example.org", "a^b.c"]),
    st.text("ab^.@!", min_size=1, max_size=5),
)
_odd = st.builds(lambda one, other: f"Nuser.{one}\x1d{other}", _components, _components)
_old = st.builds(
    lambda domain, user: f"{domain}user.{user}",
    st.sampled_from(["", "example.org!", "N.x!"]),
    _components,
)


@given(key=_modern | _odd | _old)
def test_the_key_of_a_row_is_among_those_of_its_inbox(key: str) -> None:
    (inbox,) = inboxes([(key.encode(), b"0 default x")])
    keys = row_keys([inbox.name])
    assert keys is not None and key.encode() in keys
    assert {other.name for other in inboxes((key, b"") for key in keys)} == {inbox.name}


def test_a_name_with_very_many_spellings_has_no_keys() -> None:
    assert row_keys(["user." + "^".join("abcdefghi")]) is None


@pytest.mark.parametrize("backend", LOOKUPS)
def test_a_writer_that_was_killed_changes_nothing(backend: str, tmp_path: Path) -> None:
    """Skiplist does not say where the last transaction ends, so there everything is read."""
    writer = _written(backend, tmp_path)
    writer.begin()
    for number in range(0, 300, 3):
        writer.set(b"user.name%03d" % number, b"7 7")
        writer.set(b"user.name%03dx" % number, b"8 8")
        writer.delete(b"user.name%03d" % (number + 1))
    writer.abort()
    keys: dict[bytes, Optional[bytes]] = {**RECORDS, b"user.name123x": None, b"user.new": None}
    found = LOOKUPS[backend](writer.path, set(keys))
    assert found == keys or (found is None and backend == "skiplist")
    assert cyrusdb.lookup(writer.path, set(keys)) == keys


def test_a_file_without_checksums_proves_nothing(tmp_path: Path) -> None:
    writer = TwomWriter(tmp_path / "quotas.db", checksums=NULL)
    writer.begin()
    writer.set(b"user.a", b"1 1")
    writer.commit()
    assert twom.lookup(writer.path, {b"user.a"}) is None
    assert cyrusdb.lookup(writer.path, {b"user.a"}) == {b"user.a": b"1 1"}


def test_a_stale_pointer_of_a_skiplist_hides_no_key(tmp_path: Path) -> None:
    """Two records lead past a key: Cyrus does not find it, but its record says that it is there."""
    path = _written("skiplist", tmp_path).path
    content = bytearray(path.read_bytes())
    key = b"user.name123"
    at = content.index(struct.pack(">II", 1, len(key)) + key)
    (behind,) = struct.unpack_from(">I", content, content.index(b"123 10\0\0") + 8)
    stale = content.replace(struct.pack(">I", at), struct.pack(">I", behind))
    assert stale != content
    path.write_bytes(stale)
    assert skiplist.lookup(path, {key}) is None
    assert cyrusdb.lookup(path, {key}) == {key: b"123 10"}


@pytest.mark.parametrize("backend", LOOKUPS)
def test_damage_elsewhere_does_not_matter(backend: str, tmp_path: Path) -> None:
    path = _written(backend, tmp_path).path
    content = path.read_bytes()
    path.write_bytes(content.replace(b"user.name299", b"user.name\xff99"))
    assert LOOKUPS[backend](path, {b"user.name005"}) == {b"user.name005": b"5 10"}


@pytest.mark.parametrize("backend", ["twom", "twoskip"])
def test_a_damaged_record_is_reported_as_by_the_plain_reader(backend: str, tmp_path: Path) -> None:
    path = _written(backend, tmp_path).path
    path.write_bytes(path.read_bytes().replace(b"123 10", b"124 10"))
    assert LOOKUPS[backend](path, {b"user.name123"}) is None
    problems: list[Exception] = []
    found = cyrusdb.lookup(path, {b"user.name123"}, on_problem=problems.append)
    assert found == {b"user.name123": None}
    assert "the checksum of the live record" in str(problems[0])
