"""Whatever the lsearch writer writes, a real Exim finds: that key, with that value."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Sequence

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cyrusquota.maps import Entry, lsearch

from . import exim

pytestmark = pytest.mark.integration

ABSENT = b"<absent>"
#: Keys that mean something to lsearch, to Exim's expansions or to a shell; each is a local part.
NASTY = [
    *(
        b"jane",
        b"Jane.Doe",
        b"user^name",
        b"o'brien",
        b"a,b",
        b"a;b",
        b"a{b}c",
        b"$x",
        b"${run{x}}",
    ),
    *(b"%41", b"*", b"*@", b"!neg", b"+ext", b"/etc/passwd", b"[x]", b"a|b", b"mid#hash", b"#hash"),
    *(b"jane@example.net", b"jane doe", b"  lead", b"trail ", b" ", b"a:b", b":", b":defer:", b'"'),
    *(b'a"b', b'"quoted"', b"back\\slash", b"\\x41", b"\\", b"tab\there", b"new\nline", b"\r\n"),
    *(b"\x01", b"\x7f", b"j\xc3\xbcrgen", b"lat\xfcn", b"\x85", b"\xa0", b"\xef\xbb\xbfbom"),
]


def without_nul(data: bytes) -> bytes:
    return data.replace(b"\0", b"\1")


#: Mostly bytes that the grammar of lsearch treats alike, often those that it does not.
telling_byte = st.sampled_from(list(b' \t\r\n\v\f:"\\#@+.*!ax0'))
key = st.one_of(
    st.lists(telling_byte, min_size=1, max_size=12).map(bytes),
    st.binary(min_size=1, max_size=60).map(without_nul),
    st.binary(min_size=20, max_size=60).map(without_nul),
)
TOO_MUCH = [HealthCheck.too_slow, HealthCheck.data_too_large]
#: Each example costs a run of Exim, so it holds many keys.
key_sets = st.lists(key, min_size=50, max_size=300, unique_by=bytes.lower)


def _entries(keys: Sequence[bytes]) -> list[Entry]:
    """An entry a key, sorted as the writer expects, each with a value of its own."""
    return [Entry(one, b":defer: %d" % number) for number, one in enumerate(sorted(keys))]


def _look_up(written: Sequence[bytes], wanted: Sequence[bytes]) -> list[bytes]:
    directory = Path(tempfile.mkdtemp(prefix="cq", dir="/tmp"))
    try:
        overquota = directory / "overquota"
        overquota.write_bytes(b"".join(lsearch.lines(_entries(written))))
        return exim.found_in(overquota, wanted, ABSENT)
    finally:
        shutil.rmtree(directory)


@given(key_sets)
@example(NASTY)
@settings(max_examples=25, deadline=None, suppress_health_check=TOO_MUCH)
def test_every_key_is_found_with_its_own_value(needs_exim: None, keys: list[bytes]) -> None:
    entries = _entries(keys)
    found = _look_up(keys, [entry.key for entry in entries])
    assert dict(zip((entry.key for entry in entries), found)) == {
        entry.key: entry.value for entry in entries
    }


@given(key_sets)
@example(NASTY)
@settings(max_examples=10, deadline=None, suppress_health_check=TOO_MUCH)
def test_a_key_that_is_not_there_is_not_found(needs_exim: None, keys: list[bytes]) -> None:
    there, elsewhere = keys[::2], keys[1::2]
    assert _look_up(there, elsewhere) == [ABSENT] * len(elsewhere)


@pytest.mark.parametrize("impossible", [b"", b"\0", b"jane\0doe"])
def test_a_key_that_exim_could_not_find_is_refused(impossible: bytes) -> None:
    with pytest.raises(ValueError):
        list(lsearch.lines([Entry(impossible, b":defer: full")]))
