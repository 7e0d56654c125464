"""What was appended to a database, and when only reading it anew will do."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import database, follow
from cyrusquota.cyrusdb.follow import Changes, Followed, NeedsRescan
from cyrusquota.cyrusdb.twom import layout
from cyrusquota.cyrusdb.twom.xxh3 import checksum
from cyrusquota.errors import CyrusQuotaError, DamagedDatabase, NoSuchSource
from cyrusquota.strategies.writers import WRITERS, Writer, close
from cyrusquota.strategies.writers.skiplist import SkiplistWriter
from cyrusquota.strategies.writers.twom import NULL, TwomWriter
from cyrusquota.strategies.writers.twoskip import TwoskipWriter
from tests import recorded_fixtures

LOGS = ("skiplist", "twom", "twoskip")
State = dict[bytes, bytes]
V1, V2, V3 = b"%(S (1 1))", b"%(S (2 1))", b"%(S (3 1))"


@pytest.fixture(params=LOGS)
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Writer:
    made = WRITERS[request.param](tmp_path / "quotas.db")
    commit(made, {b"user.a": V1, b"user.b": V1})
    return made


@pytest.fixture
def followed(writer: Writer) -> Iterator[Followed]:
    with follow.open(writer.path) as found:
        begin(found, writer.path)
        yield found


def commit(writer: Writer, records: dict[bytes, bytes], gone: tuple[bytes, ...] = ()) -> None:
    writer.begin()
    for key, value in records.items():
        writer.set(key, value)
    for key in gone:
        writer.delete(key)
    writer.commit()


def begin(found: Followed, path: Path) -> None:
    with cyrusdb.open(path) as db:
        found.begin(db.snapshot())


def applied(old: State, changes: Changes) -> State:
    gone, is_sure = follow.in_gaps(old, changes.gaps)
    assert is_sure
    result = {**old, **dict.fromkeys(gone), **changes.by_key}
    return {key: value for key, value in result.items() if value is not None}


def agree(changes: Changes, records: State) -> bool:
    """Whether nothing is wrong in `changes`, which are not complete.

    What a format does not prove is left out, and so are deletions that do not name their key.
    """
    return all(records.get(key, value) == value for key, value in changes.by_key.items())


def test_nothing_changed(followed: Followed) -> None:
    assert followed.changes() == Changes({}, followed.changes().records)


def test_what_is_committed_is_found_once(writer: Writer, followed: Followed) -> None:
    commit(writer, {b"user.a": V2, b"user.c": V1})
    found = followed.changes()
    assert found.records == 3
    if isinstance(writer, WRITERS["skiplist"]):
        # Nothing proves there that the key was not there before.
        assert (found.by_key, found.is_complete) == ({b"user.a": V2}, False)
    else:
        assert (found.by_key, found.is_complete) == ({b"user.a": V2, b"user.c": V1}, True)
    assert not followed.changes().by_key


def test_what_is_not_committed_is_not_found(writer: Writer, followed: Followed) -> None:
    writer.begin()
    writer.set(b"user.a", V2)
    assert not followed.changes().by_key
    writer.commit()
    assert followed.changes().by_key == {b"user.a": V2}


def test_what_a_killed_writer_left_is_not_found(writer: Writer, followed: Followed) -> None:
    writer.begin()
    writer.set(b"user.a", V2)
    writer.abort()
    assert not followed.changes().by_key
    commit(writer, {b"user.b": V2})
    assert followed.changes().by_key == {b"user.b": V2}


def test_a_deletion_is_found_or_said_to_be_missing(writer: Writer, followed: Followed) -> None:
    commit(writer, {}, (b"user.a",))
    found = followed.changes()
    assert found.records == 1
    # Nothing but a full reading proves which record a deletion of skiplist means.
    assert found.is_complete == (not isinstance(writer, SkiplistWriter))
    if found.is_complete:
        assert applied({b"user.a": V1, b"user.b": V1}, found) == {b"user.b": V1}


#: Keys for which byte order and mailbox order are the same, and where they are not.
NAMES = [b"user.%02d" % number for number in range(30)]
OTHERS = [b"user.a", b"user.a-b", b"user.a.b", b"user.a-b.c", b"user.b", b"user.a.b-c"]


@pytest.mark.parametrize("mailbox_order", [False, True])
@pytest.mark.parametrize("keys", [NAMES, NAMES + OTHERS], ids=["alike", "different"])
@given(
    looks=st.lists(
        st.lists(st.tuples(st.integers(0, 35), st.sampled_from([b"", b"", V2])), max_size=12),
        max_size=6,
    )
)
def test_a_purge_of_twoskip_is_followed(
    keys: list[bytes], mailbox_order: bool, looks: list[list[tuple[int, bytes]]]
) -> None:
    """Without a full reading, unless it depends on the order whom a deletion means."""
    with tempfile.TemporaryDirectory() as directory:
        writer = TwoskipWriter(Path(directory) / "quotas.db", mailbox_order=mailbox_order)
        state = dict.fromkeys(keys, V1)
        commit(writer, state)
        writer.repack()
        with follow.open(writer.path) as found:
            begin(found, writer.path)
            for changes in looks:
                now = dict(state)
                for number, value in changes:
                    key = keys[number % len(keys)]
                    if value and now.get(key) != value:
                        commit(writer, {key: value})
                        now[key] = value
                    elif not value and key in now:
                        commit(writer, {}, (key,))
                        del now[key]
                seen = found.changes()
                assert seen.is_complete or keys != NAMES
                if seen.is_complete and follow.in_gaps(state, seen.gaps)[1]:
                    assert applied(state, seen) == now
                state = now


def test_a_repacked_file_goes_on_or_is_lost(writer: Writer, followed: Followed) -> None:
    commit(writer, {b"user.a": V2})
    writer.repack()
    commit(writer, {b"user.b": V2})
    try:
        found = followed.changes()
    except NeedsRescan:
        assert isinstance(writer, WRITERS["skiplist"])
    else:
        assert found == Changes({b"user.a": V2, b"user.b": V2}, 2, is_complete=False)
        commit(writer, {b"user.c": V1})
        assert followed.changes() == Changes({b"user.c": V1}, 3)


def test_a_file_repacked_twice_is_lost(writer: Writer, followed: Followed) -> None:
    writer.repack()
    writer.repack()
    with pytest.raises(NeedsRescan):
        followed.changes()


def test_a_copy_in_its_place_is_lost(writer: Writer, followed: Followed) -> None:
    copy = writer.path.with_name("copy")
    shutil.copyfile(writer.path, copy)
    os.replace(copy, writer.path)
    with pytest.raises(NeedsRescan, match="replaced"):
        followed.changes()


def test_a_file_overwritten_in_place_is_to_be_read_again(
    writer: Writer, followed: Followed, tmp_path: Path
) -> None:
    """By cp, with a file of the same generation and size."""
    other = type(writer)(tmp_path / "other.db")
    commit(other, {b"user.a": V1, b"user.b": V3})
    before = writer.path.stat()
    assert other.path.stat().st_size == before.st_size
    while database.identity(writer.path.stat()) == database.identity(before):
        shutil.copyfile(other.path, writer.path)
    assert [followed.changes().is_complete for _ in range(4)] == [True, False, True, True]


def test_a_transaction_that_takes_several_looks_is_no_overwriting(
    writer: Writer, followed: Followed
) -> None:
    writer.begin()
    found = []
    for key in (b"user.a", b"user.b", b"user.a"):
        before = writer.path.stat()
        while database.identity(writer.path.stat()) == database.identity(before):
            writer.set(key, V2)
            os.utime(writer.path)
        found.append(followed.changes())
    writer.commit()
    found.append(followed.changes())
    assert all(changes.is_complete for changes in found)
    assert found[-1].by_key == {b"user.a": V2, b"user.b": V2}


def _flat(path: Path) -> follow.ComparedFile:
    return follow.ComparedFile(
        path, lambda on_problem: cyrusdb.open(path, "flat", on_problem=on_problem)
    )


def test_a_flat_file_is_compared_with_what_it_was(tmp_path: Path) -> None:
    writer = WRITERS["flat"](tmp_path / "quotas.db")
    commit(writer, {b"user.a": V1, b"user.b": V1})
    found = _flat(writer.path)
    assert found.changes() == Changes()
    commit(writer, {b"user.a": V2, b"user.c": V1}, (b"user.b",))
    assert found.changes() == Changes({b"user.a": V2, b"user.b": None, b"user.c": V1}, 2)
    assert found.changes() == Changes()
    commit(writer, {b"user.b": V3})
    assert found.changes() == Changes({b"user.b": V3}, 3)


def test_a_flat_file_with_bad_lines_or_too_large_is_only_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "quotas.db"
    contents = [b"user.a\t1\n", b"user.a\t10\nbad\n", b"user.a\t100\n", b"user.a\t1000\n"]
    path.write_bytes(contents[0])
    found = _flat(path)
    expected = [Changes(is_complete=False)] * 2 + [Changes({b"user.a": b"1000"}, 1)]
    for content, changes in zip(contents[1:], expected):
        path.write_bytes(content)
        assert found.changes() == changes
    monkeypatch.setattr(follow, "_LARGEST_COMPARED", 10)
    path.write_bytes(b"user.a\t10000\n")
    assert found.changes() == Changes(is_complete=False)


def test_a_missing_file_is_an_error(writer: Writer, followed: Followed) -> None:
    writer.path.unlink()
    with pytest.raises(NoSuchSource):
        followed.changes()


@pytest.mark.parametrize("size", [0, 10, 100, 200])
def test_a_file_cut_short_is_lost(writer: Writer, followed: Followed, size: int) -> None:
    commit(writer, {b"user.a": V2})
    os.truncate(writer.path, size)
    with pytest.raises(NeedsRescan):
        followed.changes()


def test_a_file_cut_short_is_lost_even_if_nothing_was_appended(
    writer: Writer, followed: Followed
) -> None:
    os.truncate(writer.path, 200)
    with pytest.raises(NeedsRescan):
        followed.changes()


def test_a_damaged_end_is_lost_or_left_alone(writer: Writer, followed: Followed) -> None:
    commit(writer, {b"user.a": V2, b"user.c": V1})
    whole = writer.path.read_bytes()
    at = whole.rindex(b"user.c")
    writer.path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
    try:
        found = followed.changes().by_key
    except NeedsRescan:
        return
    # Without checksums a changed byte of a key cannot be noticed.
    assert isinstance(writer, WRITERS["skiplist"])
    assert found[b"user.a"] == V2


def test_another_file_was_read(writer: Writer) -> None:
    with follow.open(writer.path) as found:
        copy = writer.path.with_name("copy")
        shutil.copyfile(writer.path, copy)
        with pytest.raises(NeedsRescan, match="while it was read"):
            begin(found, copy)


@pytest.mark.parametrize("backend", LOGS)
def test_recorded_histories_are_followed(backend: str, tmp_path: Path) -> None:
    """From each state that Cyrus left to the next one, in the same file."""
    stages = recorded_fixtures.stages(backend)
    path, steps = tmp_path / "quotas.db", 0
    for (before, old), (after, new) in zip(stages, stages[1:]):
        path.unlink(missing_ok=True)
        shutil.copyfile(before, path)
        with follow.open(path) as found:
            begin(found, path)
            path.write_bytes(after.read_bytes())
            try:
                changes = found.changes()
            except NeedsRescan:
                continue
        if changes.is_complete:
            assert applied(old, changes) == new
        else:
            assert agree(changes, new)
        steps += 1
    assert steps > 8


@pytest.mark.parametrize("backend", ["flat", "sql"])
def test_other_formats_say_only_that_something_changed(backend: str, tmp_path: Path) -> None:
    made = WRITERS[backend](tmp_path / "quotas.db")
    commit(made, {b"user.a": V1})
    with ExitStack() as leaving, follow.open(made.path) as found:
        leaving.callback(close, made)
        begin(found, made.path)
        assert found.changes().is_complete
        commit(made, {b"user.a": V2})
        assert found.changes() == Changes(is_complete=False)


# Damage

#: Transactions before and after the file is first read; b"" deletes. Some of the records that the
#: later ones replace or delete are the second of their key.
BEFORE: tuple[State, ...] = (
    {b"user.a": V1, b"user.b": V1, b"user.c": V1, b"user.d": V1},
    {b"user.b": V2, b"user.c": V2},
)
AFTER: tuple[State, ...] = (
    {b"user.a": V2, b"user.e": V1},
    {b"user.b": b""},
    {b"user.a": V3, b"user.b": V1, b"user.d": b""},
)
MAKERS: dict[str, Callable[[Path], Writer]] = {
    "skiplist": WRITERS["skiplist"],
    "twom": WRITERS["twom"],
    "twom, long lengths": partial(TwomWriter, fat=True),
    "twom, no checksums": partial(TwomWriter, checksums=NULL),
    "twoskip": WRITERS["twoskip"],
    "twoskip, fillers": partial(TwoskipWriter, fillers=True),
}
HEADERS = {"skiplist": 48, "twom": 96, "twoskip": 64}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PAUSE", 0)
    monkeypatch.setattr(database, "TRIES", 2)


def plainly_read(path: Path) -> tuple[State, bool]:
    """What the plain reader has, and whether it finds nothing wrong."""
    problems = list[CyrusQuotaError]()
    try:
        with cyrusdb.open(path, on_problem=problems.append) as db:
            return dict(db), not problems
    except DamagedDatabase:
        return {}, False


def histories(maker: Callable[[Path], Writer], path: Path) -> tuple[bytes, bytes]:
    """The bytes of a database as it is first read, and after more was appended."""
    writer = maker(path)
    for transaction in BEFORE:
        change(writer, transaction)
    before = path.read_bytes()
    for transaction in AFTER:
        change(writer, transaction)
    return before, path.read_bytes()


def change(writer: Writer, transaction: State) -> None:
    gone = tuple(key for key, value in transaction.items() if not value)
    commit(writer, {key: value for key, value in transaction.items() if value}, gone)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("flipped", [0x01, 0x41])
def test_damage_is_never_followed_to_other_records(name: str, flipped: int, tmp_path: Path) -> None:
    """Any byte of the file is changed: in what was appended, and in what that refers to."""
    path = tmp_path / "quotas.db"
    before, after = histories(MAKERS[name], path)
    path.write_bytes(before)
    with cyrusdb.open(path) as db:
        old, snapshot = dict(db), db.snapshot()
    path.write_bytes(after)
    with cyrusdb.open(path) as db:
        new, committed = dict(db), db.snapshot().size
    for at in range(committed):
        path.write_bytes(before)
        with follow.open(path) as found:
            found.begin(snapshot)
            path.write_bytes(after[:at] + bytes((after[at] ^ flipped,)) + after[at + 1 :])
            try:
                changes = found.changes()
            except NeedsRescan:
                continue
        if at < HEADERS[name.partition(",")[0]] and changes == Changes():
            # The header may be one that is being written; after some more looks it is damage.
            continue
        expected, is_sound = plainly_read(path)
        if not is_sound and at < snapshot.size:
            # What nothing that was appended refers to is not looked at again.
            expected, is_sound = new, True
        if changes.is_complete:
            assert is_sound, at
            assert applied(old, changes) == expected, at
        else:
            # What is damaged without a checksum may read as another record.
            assert agree(changes, new) or agree(changes, expected), at


def test_a_deletion_of_twom_that_names_another_user_deletes_nobody(tmp_path: Path) -> None:
    """The checksum over it is the old one."""
    writer = TwomWriter(tmp_path / "quotas.db")
    of_a = writer.current_size
    commit(writer, {b"user.a": V1})
    commit(writer, {b"user.b": V1})
    with follow.open(writer.path) as found:
        begin(found, writer.path)
        at = delete_of(writer, b"user.b", names=of_a)
        with pytest.raises(NeedsRescan, match=f"checksum of a record's head at {at}"):
            found.changes()
    with pytest.raises(DamagedDatabase, match=f"offset {at}"):
        cyrusdb.open(writer.path)


def test_a_deletion_of_twom_that_names_a_replaced_record_deletes_nobody(tmp_path: Path) -> None:
    """The checksum over it is right, as if a writer had gone wrong."""
    writer = TwomWriter(tmp_path / "quotas.db")
    commit(writer, {b"user.a": V1, b"user.b": V1})
    with follow.open(writer.path) as found:
        begin(found, writer.path)
        replaced = writer.current_size
        commit(writer, {b"user.a": V2})
        commit(writer, {b"user.a": V3})
        at = delete_of(writer, b"user.b", names=replaced, is_signed=True)
        with pytest.raises(NeedsRescan, match=f"a live record at the offset {replaced}"):
            found.changes()
    with pytest.raises(DamagedDatabase, match=f"offset {at}"):
        cyrusdb.open(writer.path)


def delete_of(writer: TwomWriter, key: bytes, *, names: int, is_signed: bool = False) -> int:
    """Delete a key, but let the deletion name another record; gives its offset."""
    at = writer.current_size
    commit(writer, {}, (key,))
    content = bytearray(writer.path.read_bytes())
    layout.LONG.pack_into(content, at + layout.ANCESTOR[layout.DELETE], names)
    if is_signed:
        end = at + layout.START.size + layout.LONG.size
        layout.CHECKSUMS.pack_into(content, end, checksum(bytes(content[at:end])), 0)
    writer.path.write_bytes(content)
    return at
