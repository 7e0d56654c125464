"""quotalegacy trees, laid out by an independent writer."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb.quotalegacy import reader as quotalegacy
from cyrusquota.errors import CyrusQuotaError, DamagedDatabase, raise_problem
from cyrusquota.strategies import values
from cyrusquota.strategies.writers.quotalegacy import QuotalegacyWriter
from tests.property.strategies import anything

_part = st.sampled_from(
    [b"jane", b"jane^doe", b"123", b"&AMQ-rger", b"caf\xc3\xa9", b"m\xfcller", b"my folder", b"-x"]
) | st.binary(min_size=1, max_size=10).map(
    lambda part: part.translate(bytes.maketrans(b"\0/.!", b"xxxx"))
)
_name = st.lists(_part, min_size=1, max_size=3).map(lambda parts: b"user." + b".".join(parts))
_domain = st.sampled_from([b"example.org", b"example.net", b"123.test", b"X.test"])
_root = st.one_of(
    _name,
    st.tuples(_domain, _name).map(b"!".join),
    _domain.map(lambda domain: domain + b"!"),
)
_states = st.dictionaries(
    _root.filter(lambda root: not root.endswith(b".NEW")),
    values().map(lambda case: case[0]),
    max_size=8,
)


@pytest.mark.parametrize("full", [False, True], ids=["plain", "fulldirhash"])
@pytest.mark.parametrize("virtdomains", [False, True], ids=["off", "virtdomains"])
@given(state=_states)
def test_every_layout_comes_back(full: bool, virtdomains: bool, state: dict[bytes, bytes]) -> None:
    base = Path(tempfile.mkdtemp())
    try:
        writer = QuotalegacyWriter(base, fulldirhash=full, virtdomains=virtdomains)
        writer.begin()
        for root, value in state.items():
            writer.set(root, value)
        writer.commit()
        with cyrusdb.open(base) as db:
            assert dict(db) == state
        configured = quotalegacy.QuotaTree(
            base, raise_problem, fulldirhash=full, virtdomains=virtdomains
        )
        assert dict(configured) == state
    finally:
        shutil.rmtree(base)


@given(content=anything, virtdomains=st.none() | st.booleans())
def test_any_content_is_a_value_or_a_problem(content: bytes, virtdomains: Optional[bool]) -> None:
    base = Path(tempfile.mkdtemp())
    problems: list[CyrusQuotaError] = []
    try:
        (base / "quota" / "j").mkdir(parents=True)
        (base / "quota" / "j" / "user.jane").write_bytes(content)
        with quotalegacy.QuotaTree(base, problems.append, virtdomains=virtdomains) as tree:
            records = dict(tree)
    finally:
        shutil.rmtree(base)
    if not content:
        assert (records, problems) == ({}, [])
    elif content.endswith(b"\n"):
        assert list(records) == [b"user.jane"]
        assert problems == []
    else:
        assert records == {}
        assert [type(problem) for problem in problems] == [DamagedDatabase]
