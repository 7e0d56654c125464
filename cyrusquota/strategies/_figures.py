"""The numbers of quota roots, and how Cyrus reads them."""

from __future__ import annotations

import ctypes
from typing import Iterable, Optional

from hypothesis import strategies as st

from cyrusquota.quota import Resource, Usage
from cyrusquota.strategies.text import UNITS, Figures

I64 = 1 << 63
#: Edges: of a KiB, a field of 32 bits, a double, a limit in bytes.
NUMBERS = (0, 1, 9, 10, 1023, 1024, 1025, 1 << 31, 1 << 32, 1 << 52, 1 << 53, 1 << 54, I64 - 1)

used = st.sampled_from(NUMBERS) | st.integers(-I64, I64 - 1)
limit: st.SearchStrategy[Optional[int]] = (
    st.none() | st.sampled_from(NUMBERS) | st.integers(0, I64 - 1)
)
figures: st.SearchStrategy[Figures] = st.tuples(used, limit)
#: Used in bytes or counts and limit in KiB or counts, of S, M, AS and NF.
resources = st.tuples(figures, figures, figures, figures)


def wrapped(number: int) -> int:
    """Return `number` as a signed variable of 64 bits holds it."""
    return ctypes.c_int64(number).value


def usage(resource: Resource, pair: Figures) -> Usage:
    """Return the usage that two signed numbers in a database mean; a limit below 0 is none."""
    unit = UNITS[list(Resource).index(resource)]
    used, limit = pair
    return Usage(used, None if limit is None or limit < 0 else wrapped(limit * unit))


def usages(pairs: Iterable[Figures]) -> dict[Resource, Usage]:
    """Return the same for all four resources."""
    return {resource: usage(resource, pair) for resource, pair in zip(Resource, pairs)}
