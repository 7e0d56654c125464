"""What was appended to a database, and when only reading it anew will do."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Iterator

import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import tail
from cyrusquota.cyrusdb.tail import Changes, Lost, Tail
from cyrusquota.errors import NoSuchSource
from cyrusquota.strategies.writers import WRITERS, Writer, close
from tests import recorded

LOGS = ("skiplist", "twom", "twoskip")
V1, V2 = b"%(S (1 1))", b"%(S (2 1))"


@pytest.fixture(params=LOGS)
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Writer:
    made = WRITERS[request.param](tmp_path / "quotas.db")
    commit(made, {b"user.a": V1, b"user.b": V1})
    return made


@pytest.fixture
def followed(writer: Writer) -> Iterator[Tail]:
    with tail.opened(writer.path) as found:
        begin(found, writer.path)
        yield found


def commit(writer: Writer, records: dict[bytes, bytes], gone: tuple[bytes, ...] = ()) -> None:
    writer.begin()
    for key, value in records.items():
        writer.set(key, value)
    for key in gone:
        writer.delete(key)
    writer.commit()


def begin(found: Tail, path: Path) -> None:
    with cyrusdb.open(path) as db:
        found.begin(db.snapshot())


def test_nothing_changed(followed: Tail) -> None:
    assert followed.changes() == Changes({}, followed.changes().records)


def test_what_is_committed_is_found_once(writer: Writer, followed: Tail) -> None:
    commit(writer, {b"user.a": V2, b"user.c": V1})
    found = followed.changes()
    assert (found.by_key, found.records, found.is_complete) == (
        {b"user.a": V2, b"user.c": V1},
        3,
        True,
    )
    assert not followed.changes().by_key


def test_what_is_not_committed_is_not_found(writer: Writer, followed: Tail) -> None:
    writer.begin()
    writer.set(b"user.a", V2)
    assert not followed.changes().by_key
    writer.commit()
    assert followed.changes().by_key == {b"user.a": V2}


def test_what_a_killed_writer_left_is_not_found(writer: Writer, followed: Tail) -> None:
    writer.begin()
    writer.set(b"user.a", V2)
    writer.abort()
    assert not followed.changes().by_key
    commit(writer, {b"user.b": V2})
    assert followed.changes().by_key == {b"user.b": V2}


def test_a_deletion_is_found_or_said_to_be_missing(writer: Writer, followed: Tail) -> None:
    commit(writer, {}, (b"user.a",))
    found = followed.changes()
    assert found.records == 1
    assert found.by_key == {b"user.a": None} or not found.is_complete


def test_a_repacked_file_goes_on_or_is_lost(writer: Writer, followed: Tail) -> None:
    commit(writer, {b"user.a": V2})
    writer.repack()
    commit(writer, {b"user.b": V2})
    try:
        found = followed.changes()
    except Lost:
        assert isinstance(writer, WRITERS["skiplist"])
    else:
        assert found == Changes({b"user.a": V2, b"user.b": V2}, 2, is_complete=False)
        commit(writer, {b"user.c": V1})
        assert followed.changes() == Changes({b"user.c": V1}, 3)


def test_a_file_repacked_twice_is_lost(writer: Writer, followed: Tail) -> None:
    writer.repack()
    writer.repack()
    with pytest.raises(Lost):
        followed.changes()


def test_a_copy_in_its_place_is_lost(writer: Writer, followed: Tail) -> None:
    copy = writer.path.with_name("copy")
    shutil.copyfile(writer.path, copy)
    os.replace(copy, writer.path)
    with pytest.raises(Lost, match="replaced"):
        followed.changes()


def test_a_missing_file_is_an_error(writer: Writer, followed: Tail) -> None:
    writer.path.unlink()
    with pytest.raises(NoSuchSource):
        followed.changes()


@pytest.mark.parametrize("size", [0, 10, 100, 200])
def test_a_file_cut_short_is_lost(writer: Writer, followed: Tail, size: int) -> None:
    commit(writer, {b"user.a": V2})
    os.truncate(writer.path, size)
    with pytest.raises(Lost):
        followed.changes()


def test_a_file_cut_short_is_lost_even_if_nothing_was_appended(
    writer: Writer, followed: Tail
) -> None:
    os.truncate(writer.path, 200)
    with pytest.raises(Lost):
        followed.changes()


def test_a_damaged_end_is_lost_or_left_alone(writer: Writer, followed: Tail) -> None:
    commit(writer, {b"user.a": V2, b"user.c": V1})
    whole = writer.path.read_bytes()
    at = whole.rindex(b"user.c")
    writer.path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
    try:
        found = followed.changes().by_key
    except Lost:
        return
    # Without checksums a changed byte of a key cannot be noticed.
    assert isinstance(writer, WRITERS["skiplist"])
    assert found[b"user.a"] == V2


def test_another_file_was_read(writer: Writer) -> None:
    with tail.opened(writer.path) as found:
        copy = writer.path.with_name("copy")
        shutil.copyfile(writer.path, copy)
        with pytest.raises(Lost, match="while it was read"):
            begin(found, copy)


@pytest.mark.parametrize("backend", LOGS)
def test_recorded_histories_are_followed(backend: str, tmp_path: Path) -> None:
    """From each state that Cyrus left to the next one, in the same file."""
    stages = recorded.stages(backend)
    path, steps = tmp_path / "quotas.db", 0
    for (before, old), (after, new) in zip(stages, stages[1:]):
        path.unlink(missing_ok=True)
        shutil.copyfile(before, path)
        with tail.opened(path) as found:
            begin(found, path)
            path.write_bytes(after.read_bytes())
            try:
                changes = found.changes()
            except Lost:
                continue
        result = {**old, **changes.by_key}
        expected = {key: value for key, value in result.items() if value is not None}
        # What deletions a twoskip file does not name stays, and it says that there are some.
        assert expected == new or (not changes.is_complete and new.items() <= expected.items())
        steps += 1
    assert steps > 8


@pytest.mark.parametrize("backend", ["flat", "sql"])
def test_other_formats_say_only_that_something_changed(backend: str, tmp_path: Path) -> None:
    made = WRITERS[backend](tmp_path / "quotas.db")
    commit(made, {b"user.a": V1})
    with ExitStack() as leaving, tail.opened(made.path) as found:
        leaving.callback(close, made)
        begin(found, made.path)
        assert found.changes().is_complete
        commit(made, {b"user.a": V2})
        assert found.changes() == Changes(is_complete=False)
