"""Whatever is written for Exim, a real Exim finds: that key, with that value."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Optional, Sequence

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cyrusquota.errors import OptionError
from cyrusquota.maps import FORMATS, MAX_MESSAGE, Entry, lsearch

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


#: Texts that mean something to Exim's expansions, to its redirect data or to its log.
NASTY_TEXTS = [
    *(
        "4.2.2 full",
        "452 4.2.2 full",
        "${run{/bin/false}}",
        "$local_part \\n \\x41",
        "a, b; c",
        "# x",
    ),
    *('"quoted"', "'", "{}}{", "x" * MAX_MESSAGE, ":fail: no", "/etc/passwd", "|cmd", "%s%n", "~"),
]
text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=75)
formats = pytest.mark.parametrize("name", ["lsearch", "cdb"])


def _entries(keys: Sequence[bytes]) -> list[Entry]:
    """An entry a key, sorted and in lower case as the writers expect, each with its own value."""
    folded = sorted({key.lower() for key in keys})
    return [Entry(one, b":defer: %d" % number) for number, one in enumerate(folded)]


def _look_up(name: str, written: Sequence[Entry], wanted: Sequence[bytes]) -> list[bytes]:
    directory = Path(tempfile.mkdtemp(prefix="cq", dir="/tmp"))
    try:
        overquota = directory / "overquota"
        overquota.write_bytes(FORMATS[name].document(written, ["roots: 1"]))
        return exim.found_in(overquota, wanted, ABSENT, name)
    finally:
        shutil.rmtree(directory)


@formats
@given(keys=key_sets)
@example(keys=NASTY)
@settings(max_examples=25, deadline=None, suppress_health_check=TOO_MUCH)
def test_every_key_is_found_with_its_own_value(
    needs_exim: None, name: str, keys: list[bytes]
) -> None:
    entries = _entries(keys)
    found = _look_up(name, entries, [entry.key for entry in entries])
    assert found == [entry.value for entry in entries]


@formats
@given(keys=key_sets)
@example(keys=NASTY)
@settings(max_examples=10, deadline=None, suppress_health_check=TOO_MUCH)
def test_a_key_that_is_not_there_is_not_found(
    needs_exim: None, name: str, keys: list[bytes]
) -> None:
    there, elsewhere = keys[::2], keys[1::2]
    folded = {key.lower() for key in there}
    wanted = [key for key in elsewhere if key.lower() not in folded]
    assert _look_up(name, _entries(there), wanted) == [ABSENT] * len(wanted)


@formats
@given(texts=st.lists(text, min_size=20, max_size=100))
@example(texts=NASTY_TEXTS)
@settings(max_examples=10, deadline=None, suppress_health_check=TOO_MUCH)
def test_every_text_that_is_let_through_is_found_as_it_was(
    needs_exim: None, name: str, texts: list[str]
) -> None:
    values = [value for value in map(_deferral, texts) if value is not None]
    entries = [Entry(b"user%03d" % number, value) for number, value in enumerate(values)]
    assert _look_up(name, entries, [entry.key for entry in entries]) == values


def _deferral(text: str) -> Optional[bytes]:
    try:
        return lsearch.deferral(text)
    except OptionError:
        return None


@formats
def test_the_empty_key_is_never_found(needs_exim: None, name: str) -> None:
    """A cdb keeps its comments there."""
    assert _look_up(name, [Entry(b"jane", b":defer: full")], [b""]) == [ABSENT]


@pytest.mark.parametrize("impossible", [b"", b"\0", b"jane\0doe"])
def test_a_key_that_exim_could_not_find_is_refused(impossible: bytes) -> None:
    with pytest.raises(ValueError):
        list(lsearch.lines([Entry(impossible, b":defer: full")]))
