"""A damaged twoskip or twom file never gives a wrong value, nor fewer keys without a word."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Callable

import pytest

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import database
from cyrusquota.errors import DamagedDatabase
from cyrusquota.strategies.writers.linked import LinkedWriter
from cyrusquota.strategies.writers.twom import TwomWriter
from cyrusquota.strategies.writers.twoskip import TwoskipWriter

from ..damaged_databases import is_noticed, small_database

#: With this seed one flipped bit makes a twom head end where a later record's tail begins.
SEED = 3
MAKERS: dict[str, Callable[[Path], LinkedWriter]] = {
    "twoskip": partial(TwoskipWriter, seed=SEED),
    "twoskip with fillers": partial(TwoskipWriter, seed=SEED, fillers=True),
    "twom": partial(TwomWriter, seed=SEED),
    "twom with long lengths": partial(TwomWriter, seed=SEED, fat=True),
}


@pytest.fixture(params=MAKERS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(database, "PAUSE", 0)
    monkeypatch.setattr(database, "TRIES", 2)
    return str(request.param)


def test_every_flipped_bit_is_noticed_or_does_not_matter(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "quotas.db"
    data, state = small_database(MAKERS[kind], path)
    noticed = 0
    for at in range(len(data)):
        for bit in range(8):
            path.write_bytes(data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :])
            noticed += is_noticed(path, kind.split()[0], state)
    # The others are in pointers, superseded records and the numbers of old commits; in twoskip
    # also in heads, as copies that are made while Cyrus writes have some with an old checksum.
    assert noticed > len(data) * 8 // (6 if kind.startswith("twoskip") else 3)


def test_every_truncation_is_noticed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "quotas.db"
    data, state = small_database(MAKERS[kind], path)
    for length in range(1, len(data)):
        path.write_bytes(data[:length])
        assert is_noticed(path, kind.split()[0], state)


def test_a_file_without_its_magic_bytes_is_no_flat_file(kind: str, tmp_path: Path) -> None:
    """Without a name for the backend the magic bytes decide, so damage to them must be noticed."""
    path = tmp_path / "quotas.db"
    data, _ = small_database(MAKERS[kind], path)
    for at in range(20 if kind.startswith("twoskip") else 16):
        for bit in range(8):
            path.write_bytes(data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :])
            with pytest.raises(DamagedDatabase):
                cyrusdb.open(path)
