"""twoskip files with bytes changed or missing: the truth, or a documented error."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyrusquota import cyrusdb
from cyrusquota.errors import CyrusQuotaError, DamagedDatabase
from cyrusquota.strategies.writers.twoskip import TwoskipWriter
from tests.damaged_databases import resealed, spans
from tests.property.strategies import anything, mutated
from tests.recorded_fixtures import FIXTURES, stages

#: Original bytes and the state they hold.
FILES = [(path.read_bytes(), state) for path, state in stages()]
HEADER = 64


@pytest.fixture(scope="module", autouse=True)
def impatient() -> Iterator[None]:
    """No writer is at work here, so there is nothing to wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cyrusquota.cyrusdb.database.PAUSE", 0)
        patch.setattr("cyrusquota.cyrusdb.database.TRIES", 2)
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("twoskip") / "quotas.db"


def read(path: Path, content: bytes) -> tuple[list[tuple[bytes, bytes]], list[CyrusQuotaError]]:
    """What the file says, and what is said about it; a damaged one says nothing."""
    path.write_bytes(content)
    problems: list[CyrusQuotaError] = []
    try:
        with cyrusdb.open(path, "twoskip", on_problem=problems.append) as db:
            records = list(db)
    except DamagedDatabase as error:
        return [], [error]
    assert all(isinstance(problem, DamagedDatabase) for problem in problems)
    assert all("\n" not in str(problem) for problem in problems)
    return records, problems


_file = st.sampled_from(FILES)


@given(original=_file, data=st.data())
@settings(max_examples=2 * settings().max_examples)
def test_changed_bytes_never_change_a_value(
    path: Path, original: tuple[bytes, dict[bytes, bytes]], data: st.DataObject
) -> None:
    content, state = original
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        changed[at] ^= data.draw(st.integers(1, 255))
    records, problems = read(path, bytes(changed))
    assert dict(records).items() <= state.items()
    assert len(dict(records)) == len(records)
    if not problems:
        assert dict(records) == state


@given(original=_file, data=st.data())
def test_a_cut_file_is_damaged(
    path: Path, original: tuple[bytes, dict[bytes, bytes]], data: st.DataObject
) -> None:
    content, _ = original
    records, problems = read(path, content[: data.draw(st.integers(1, len(content) - 1))])
    assert records == []
    assert len(problems) == 1


@given(original=_file, rest=anything)
def test_what_lies_behind_the_committed_end_does_not_count(
    path: Path, original: tuple[bytes, dict[bytes, bytes]], rest: bytes
) -> None:
    content, state = original
    assert read(path, content + rest) == (list(dict(read(path, content)[0]).items()), [])
    assert dict(read(path, content + rest)[0]) == state


@given(first=_file, second=_file, data=st.data())
def test_two_files_spliced_are_one_of_them_or_damaged(
    path: Path,
    first: tuple[bytes, dict[bytes, bytes]],
    second: tuple[bytes, dict[bytes, bytes]],
    data: st.DataObject,
) -> None:
    at = 8 * data.draw(st.integers(0, len(first[0]) // 8))
    records, problems = read(path, first[0][:at] + second[0][at:])
    ever = {pair for _, state in FILES for pair in state.items()}
    assert set(records) <= ever
    if not problems:
        assert dict(records) in [state for _, state in FILES]


# Damage that the checksums do not give away


def test_the_checksums_made_here_are_those_of_cyrus() -> None:
    for content, _ in FILES:
        assert resealed(content, content) == content


@given(original=_file, data=st.data())
@settings(max_examples=2 * settings().max_examples)
def test_forged_bytes_are_read_or_the_documented_error(
    path: Path, original: tuple[bytes, dict[bytes, bytes]], data: st.DataObject
) -> None:
    content, _ = original
    forged = bytearray(content)
    # Heads of records and the header, where all the numbers are.
    heads = [(20, HEADER - 4), *((start, head - 8) for start, head, _ in spans(content))]
    for _ in range(data.draw(st.integers(1, 4))):
        start, end = data.draw(st.sampled_from(heads))
        at = data.draw(st.integers(start, end - 1))
        if data.draw(st.booleans()):
            forged[at] = data.draw(st.integers(0, 255))
        else:
            at -= (at - start) % 8
            offset = data.draw(st.sampled_from([span[0] for span in spans(content)]))
            forged[at : at + 8] = struct.pack(">Q", offset)
    read(path, resealed(bytes(forged), content))


@given(content=anything | mutated(st.sampled_from([content for content, _ in FILES])))
def test_any_bytes_are_read_or_the_documented_error(path: Path, content: bytes) -> None:
    read(path, content)
    for backend in (None, "quotalegacy", "flat"):
        try:
            with cyrusdb.open(path, backend) as db:
                list(db)
        except CyrusQuotaError as error:
            assert "\n" not in str(error)


def test_the_database_in_mailbox_order_stands_single_bit_flips(path: Path) -> None:
    directory = FIXTURES / "edge" / "twoskip-mboxsort"
    content = (directory / "quotas.db").read_bytes()
    records, problems = read(path, content)
    assert problems == []
    for at in range(HEADER, len(content)):
        changed = bytearray(content)
        changed[at] ^= 1
        found, problems = read(path, bytes(changed))
        assert set(found) <= set(records)
        assert problems or set(found) == set(records)


def test_a_chain_that_leads_backwards_gives_each_key_once(path: Path) -> None:
    content, _ = FILES[4]
    forged = bytearray(content)
    # A wrong count makes the reader follow the pointers, of which one leads back.
    forged[32:40] = struct.pack(">Q", 99)
    forged[616 + 8 : 616 + 24] = struct.pack(">QQ", 432, 432)
    records, _ = read(path, resealed(bytes(forged), content))
    assert len(dict(records)) == len(records)


def test_a_deletion_that_takes_all_sign_of_the_order_along(tmp_path: Path) -> None:
    """Of these two keys the last is one in byte order and the other in mailbox order."""
    for in_mailbox_order in (False, True):
        writer = TwoskipWriter(tmp_path / f"{in_mailbox_order}.db", mailbox_order=in_mailbox_order)
        for gone in (b"user.a-b", b"user.a.b"):
            writer.begin()
            writer.set(b"user.a-b", b"1 1")
            writer.set(b"user.a.b", b"2 1")
            writer.delete(gone)
            writer.commit()
            kept = {b"user.a-b": b"1 1", b"user.a.b": b"2 1"}
            del kept[gone]
            with cyrusdb.open(writer.path) as database:
                assert dict(database) == kept
