"""Names of quota roots, quota roots, and records of a quota database."""

from __future__ import annotations

from hypothesis import strategies as st

from cyrusquota.quota import QuotaRoot
from cyrusquota.strategies._figures import resources, usages
from cyrusquota.strategies._values import values
from cyrusquota.strategies.text import Row

NAMES = (
    "user.jane",
    "user.jane^doe",
    "user.jane.my folder",
    "user.123",
    "123",
    "1 2 3",
    " ",
    "       0                 7              STORAGE x",
    "user.caf\u00e9",
    "user.x: removed",
    "example.org!user.max",
    "example.org!",
    "removed",
    "QUOTA",
)
#: These have a meaning of their own in a report.
_TAKEN = ("(null)", "_repairs")
_NOT_IN_NAMES = "/@\n\0"

#: Names that are the same inside Cyrus and in its reports: no slash and no address.
utf8_name = st.sampled_from(NAMES) | st.text(min_size=1, max_size=40).map(
    lambda name: name.translate(dict.fromkeys(map(ord, _NOT_IN_NAMES), "x"))
).filter(lambda name: name not in _TAKEN)
#: The same in bytes that need not be UTF-8.
raw_name = st.sampled_from([name.encode() for name in NAMES]) | st.binary(
    min_size=1, max_size=40
).map(lambda name: name.translate(bytes.maketrans(_NOT_IN_NAMES.encode(), b"xxxx"))).filter(
    lambda name: name.decode("latin-1") not in _TAKEN
)
rows: st.SearchStrategy[list[Row]] = st.lists(
    st.tuples(raw_name, resources), max_size=6, unique_by=lambda row: row[0]
)
utf8_rows: st.SearchStrategy[list[Row]] = st.lists(
    st.tuples(utf8_name.map(str.encode), resources), max_size=6, unique_by=lambda row: row[0]
)


def text_of(raw: bytes) -> str:
    """Return a name as this package spells it."""
    return raw.decode("utf-8", "surrogateescape")


def names(*, utf8: bool = False) -> st.SearchStrategy[str]:
    """Draw internal names of quota roots; without `utf8` some carry surrogate escapes."""
    return utf8_name if utf8 else raw_name.map(text_of)


def quota_roots() -> st.SearchStrategy[QuotaRoot]:
    """Draw quota roots as any database may hold them, up to the ends of 64 bits."""
    return st.builds(lambda name, four: QuotaRoot.of(name, usages(four)), names(), resources)


def records(max_size: int = 6) -> st.SearchStrategy[dict[bytes, bytes]]:
    """Draw records of a quota database: internal names with values that Cyrus writes."""
    return st.dictionaries(raw_name, values().map(lambda case: case[0]), max_size=max_size)
