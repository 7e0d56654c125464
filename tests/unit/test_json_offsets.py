"""What is wrong with JSON is found at the right offset, in bytes, whatever came before."""

from __future__ import annotations

import io
import json

import pytest

from cyrusquota.errors import BadReport
from cyrusquota.parse.json_members import members

#: 2 bytes and 1 character each, some of them across the ends of chunks.
_NAMES = [f"user.{'é' * 40}{number}" for number in range(3000)]
_WHOLE = json.dumps({name: {"STORAGE": {}} for name in _NAMES}, ensure_ascii=False).encode()


def _failure(content: bytes) -> BadReport:
    with pytest.raises(BadReport) as caught:
        list(members(content[:10], io.BytesIO(content[10:]), "quota.json"))
    return caught.value


def test_the_offset_of_a_member_counts_bytes() -> None:
    found = list(members(_WHOLE[:10], io.BytesIO(_WHOLE[10:]), "quota.json"))
    assert [name for _, name, _ in found] == _NAMES
    for offset, name, _ in found:
        assert _WHOLE[offset:].startswith(f'"{name}"'.encode())


@pytest.mark.parametrize(
    "end",
    ['"user.jan\u00e9": {"STORAGE": {"used": 1, "lim', '"a": {"STORAGE": {"used": 1,', '"a": tru',
     '"a', '"a\\', '"a": ', '"a": {"b": -', '"a": {', '"a": nul', '"a": {"b"', '"a": {"b": "\\"'],
)  # fmt: skip
@pytest.mark.parametrize("before", [b"{", b'{"x\xc3\xa9": {},\n', _WHOLE[:-1] + b", "], ids=len)
def test_a_cut_object_breaks_off_at_its_end(before: bytes, end: str) -> None:
    content = before + end.encode()
    error = _failure(content)
    assert error.place.offset == len(content)
    assert "the JSON breaks off" in str(error)


@pytest.mark.parametrize("before", [b"{", b'{"x\xc3\xa9": {},\n', _WHOLE[:-1] + b", "], ids=len)
def test_what_is_no_json_is_named_where_it_is(before: bytes) -> None:
    error = _failure(before + b'"\xc3\xa9": {"b": x}, "c": {}}')
    assert error.place.offset == len(before) + len(b'"\xc3\xa9": {"b": ')
    assert error.found == b'x}, "c": {}}'
    assert "this is no JSON" in str(error)


@pytest.mark.parametrize("before", [b"{", _WHOLE[:-1] + b", "], ids=len)
def test_what_is_no_utf8_is_named_where_it_is(before: bytes) -> None:
    for name in (b"\xff", b"\xc3", b"\xc3\xa9\xc3"):
        error = _failure(before + b'"' + name + b'": {}}')
        assert error.place.offset == len(before) + 1 + name.rindex(name[-1:])
