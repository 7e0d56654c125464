"""A sorted run, read in batches and pieces: each key once and in order, or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator, Optional, Sequence

import pytest

from cyrusquota.cyrusdb import sorted_run as run
from cyrusquota.cyrusdb.selection import FastPathUnsupported, Record, Selected

#: A record here is a key of four letters and a value of three, one a line; nothing from a format.
SIZE = 8


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take two records at a time, in this process."""
    monkeypatch.setattr(run, "_PIECE", 2 * SIZE)
    monkeypatch.setattr(run, "BATCH", 2)
    monkeypatch.setattr(run, "processors", lambda: 1)
    pauses = iter(range(1000))

    def sleep(seconds: float) -> None:
        assert next(pauses, None) is not None, "it waits for ever"

    monkeypatch.setattr("time.sleep", sleep)


def _records(data: bytes, base: int, batch: run.Batch, most: int) -> int:
    """The records of whole lines; a key that starts with `-` is a deletion."""
    whole = len(data) // SIZE
    for at in range(0, (min(whole, most) if most else whole) * SIZE, SIZE):
        key, value = data[at : at + 4], data[at + 4 : at + 7]
        if key.startswith(b"-"):
            batch.deletions.append((len(batch.keys), 0))
        else:
            batch.keys.append(key)
            batch.values.append(value)
            batch.starts.append(base + at)
    return whole * SIZE


def _everything(keys: object, values: Iterator[bytes]) -> list[int]:
    return [index for index, _ in enumerate(values)]


def _sifted(
    directory: Path,
    keys: str,
    pieces: tuple[int, ...] = (),
    changes: Optional[dict[bytes, Optional[bytes]]] = None,
    deleted: Optional[set[bytes]] = None,
) -> Selected:
    """What a run of records `key=NNN` comes to, cut behind so many records."""
    rows = [f"{key:4}{number:03}\n" for number, key in enumerate(keys.split())]
    path = directory / "run"
    path.write_text("".join(rows))
    bounds = [0, *(SIZE * at for at in pieces), SIZE * len(rows)]
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return run.selected_run(
            descriptor,
            bounds,
            _records,
            _everything,  # type: ignore[arg-type]
            changes or {},
            deleted,
        )
    finally:
        os.close(descriptor)


def _all(keys: str) -> list[Record]:
    return [(f"{key:4}".encode(), b"%03d" % number) for number, key in enumerate(keys.split())]


@pytest.mark.parametrize("pieces", [(), (1,), (2,), (3,), (2, 4), (1, 2, 3, 4)])
@pytest.mark.parametrize("keys", ["a b c d e", "a b c d e f", "a aa ab b ba c"])
def test_a_run_in_order_is_read_whole(keys: str, pieces: tuple[int, ...], tmp_path: Path) -> None:
    found = _sifted(tmp_path, keys, pieces)
    assert found == Selected(len(keys.split()), _all(keys))


@pytest.mark.parametrize("pieces", [(), (1,), (2,), (3,), (2, 4), (1, 2, 3, 4)])
@pytest.mark.parametrize(
    "keys",
    [
        *("a a b c d e", "a b b c d e", "a b c c d e", "a b c d d e", "a b c d e e"),
        *("b a c d e f", "a c b d e f", "a b d c e f", "a b c e d f", "a b c d f e"),
        *("f a b c d e", "b c d e f a", "a b a b a b", "a -x b c d e"),
        *("-x a b c d e", "a b -x -y c d", "a b c d e -x", "-x -y"),
    ],
)
def test_a_key_twice_or_out_of_order_is_left_to_the_plain_reader(
    keys: str, pieces: tuple[int, ...], tmp_path: Path
) -> None:
    with pytest.raises(FastPathUnsupported):
        _sifted(tmp_path, keys, pieces)


@pytest.mark.parametrize("pieces", [(), (2,), (1, 2, 3, 4)])
def test_the_log_goes_before_the_run(pieces: tuple[int, ...], tmp_path: Path) -> None:
    changes = {b"b   ": b"new", b"c   ": None, b"x   ": b"add", b"y   ": None}
    found = _sifted(tmp_path, "a b c d e", pieces, changes)
    assert found.records == 5
    assert sorted(found.kept) == [
        *((b"a   ", b"000"), (b"b   ", b"new"), (b"d   ", b"003"), (b"e   ", b"004")),
        (b"x   ", b"add"),
    ]
    assert _sifted(tmp_path, "a b c d e", pieces, changes, {b"b   ", b"c   "}) == found
    for deleted in ({b"b   "}, {b"b   ", b"d   "}, {b"b   ", b"c   ", b"d   "}):
        with pytest.raises(FastPathUnsupported):
            _sifted(tmp_path, "a b c d e", pieces, changes, deleted)


def test_what_nobody_wants_of_the_log_counts_but_is_not_held(tmp_path: Path) -> None:
    def short(keys: object, values: Sequence[bytes]) -> list[int]:
        return [index for index, value in enumerate(values) if len(value) < 2]

    values = run.wanted_values([b"b   ", b"x   ", b"y   "], [b"", b"long", b"1"], short)
    assert values == [b"", run.UNWANTED, b"1"]
    assert [value is run.UNWANTED for value in values] == [False, True, False]
    changes = dict(zip([b"b   ", b"x   ", b"y   "], values))
    found = _sifted(tmp_path, "a b", (), {**changes, b"a   ": run.UNWANTED})
    assert (found.records, sorted(found.kept)) == (4, [(b"b   ", b""), (b"y   ", b"1")])


def test_without_a_run_the_log_is_all(tmp_path: Path) -> None:
    found = _sifted(tmp_path, "", (), {b"a": b"1", b"b": None})
    assert found == Selected(1, [(b"a", b"1")])


def test_a_record_that_never_becomes_whole_is_left_to_the_plain_reader(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_bytes(b"a   000\nb   00")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(FastPathUnsupported):
            run.selected_run(descriptor, [0, 14], _records, _everything, {})  # type: ignore[arg-type]
        with pytest.raises(FastPathUnsupported):
            run.selected_run(descriptor, [0, 16], _records, _everything, {})  # type: ignore[arg-type]
    finally:
        os.close(descriptor)


def test_bytes_that_a_file_does_not_have_are_left_to_the_plain_reader(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_bytes(b"0123456789")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert run.read(descriptor, 2, 10) == b"23456789"
        with pytest.raises(FastPathUnsupported):
            run.read(descriptor, 2, 11)
    finally:
        os.close(descriptor)
