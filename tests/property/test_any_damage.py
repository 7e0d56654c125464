"""Any damage to a twoskip or twom file ends in right values or the documented error."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Callable
from unittest import mock

import pytest
from hypothesis import given

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import database
from cyrusquota.cyrusdb.twom import layout as twom
from cyrusquota.cyrusdb.twoskip import layout as twoskip
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.strategies.writers.linked import LinkedWriter
from cyrusquota.strategies.writers.twom import NULL, TwomWriter
from cyrusquota.strategies.writers.twoskip import TwoskipWriter

from ..damaged_databases import is_noticed, small_database
from .strategies import EDITS, edited

CHECKED: dict[str, Callable[[Path], LinkedWriter]] = {"twoskip": TwoskipWriter, "twom": TwomWriter}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PAUSE", 0)
    monkeypatch.setattr(database, "TRIES", 2)


@pytest.mark.parametrize("backend", CHECKED)
@pytest.mark.parametrize("first", [0, 96])
@given(edits=EDITS)
def test_what_checksums_vouch_for_is_right(
    backend: str, first: int, edits: list[tuple[int, bytes]]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "quotas.db"
        data, state = small_database(CHECKED[backend], path)
        path.write_bytes(edited(data, edits, first))
        if path.read_bytes().startswith((twom.MAGIC, twoskip.MAGIC)):
            is_noticed(path, backend, state)


@given(edits=EDITS)
def test_without_checksums_nothing_but_the_documented_error_escapes(
    edits: list[tuple[int, bytes]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "quotas.db"
        data, _ = small_database(partial(TwomWriter, checksums=NULL), path)
        path.write_bytes(edited(data, edits, 96))
        try:
            with cyrusdb.open(path, on_problem=mock.Mock()) as database:
                rows = list(database)
        except CyrusQuotaError:
            return
        assert len(dict(rows)) == len(rows)
