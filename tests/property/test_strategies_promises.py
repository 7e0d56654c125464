"""What the strategies promise, held against the readers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota import cyrusdb, strategies
from cyrusquota.parse import value
from cyrusquota.quota import QuotaRoot


@pytest.mark.parametrize("backend", strategies.BACKENDS)
@given(data=st.data())
def test_a_database_has_its_records(backend: str, data: st.DataObject) -> None:
    drawn = data.draw(strategies.databases(backend))
    with tempfile.TemporaryDirectory() as directory:
        path = drawn.write_to(Path(directory))
        if backend != "quotalegacy":
            assert path.read_bytes() == drawn.content
        for named in (None, backend):
            with cyrusdb.open(path, named) as database:
                records = list(database)
            assert dict(records) == drawn.records
            assert len(records) == len(drawn.records)


def test_there_are_databases_of_every_backend_that_is_read() -> None:
    assert sorted(strategies.BACKENDS) == sorted(cyrusdb.BACKENDS)


@given(strategies.quota_roots())
def test_a_quota_root_has_a_name_and_numbers_of_64_bits(root: QuotaRoot) -> None:
    assert root.name.encode("utf-8", "surrogateescape")
    for _, usage in root.usages():
        assert -(1 << 63) <= usage.used < 1 << 63


@given(strategies.names(utf8=True))
def test_names_are_utf8_where_they_have_to_be(name: str) -> None:
    assert name.encode("utf-8")


@given(strategies.records())
def test_a_record_is_a_quota_root(records: dict[bytes, bytes]) -> None:
    for key, data in records.items():
        root = value.quota_root(key, data)
        assert root is not None
        assert root.name.encode("utf-8", "surrogateescape") == key
