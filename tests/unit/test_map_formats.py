"""From verdicts to entries, and from entries to the bytes of each format."""

from __future__ import annotations

import struct
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota.cli.option_types import size
from cyrusquota.cyrus.names import Recipient
from cyrusquota.errors import OptionError
from cyrusquota.maps import FORMATS, Entry, KeyForm, cdb, entries, lsearch, postfix
from cyrusquota.maps.values import MapValues
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.verdicts.evaluator import Verdict
from cyrusquota.verdicts.policies import LMTPD, Reserve

DEFERRAL = b":defer: 4.2.2 The user's mailbox is full. Please try re-sending your e-mail later."
REFUSAL = b":fail: 552 5.2.2 The user's mailbox is full."
JANE = Recipient("jane", "example.net")


def _keys(*recipients: Recipient, form: KeyForm = KeyForm.AUTO, exempt: str = "") -> list[bytes]:
    found = entries(((one, b"x") for one in recipients), form=form, exempt=exempt.split())
    return [entry.key for entry in found]


def test_postmaster_is_never_listed() -> None:
    postmasters = [
        Recipient(name, domain)
        for name in ("postmaster", "PostMaster")
        for domain in (None, "a.example", "b.example")
    ]
    for form in (KeyForm.AUTO, KeyForm.LOCAL):
        assert _keys(*postmasters, JANE, form=form) == _keys(JANE, form=form)


@pytest.mark.parametrize(
    ("exempt", "left"),
    [
        ("jane", [b"bob", b"jane.doe@b.example"]),
        ("JANE", [b"bob", b"jane.doe@b.example"]),
        ("jane@a.example", [b"bob", b"jane.doe@b.example", b"jane@b.example"]),
        ("jane@A.example bob", [b"jane.doe@b.example", b"jane@b.example"]),
        (
            "bob@a.example jan",
            [b"bob", b"jane.doe@b.example", b"jane@a.example", b"jane@b.example"],
        ),
    ],
)
def test_exempt_takes_local_parts_and_addresses(exempt: str, left: list[bytes]) -> None:
    everybody = [
        Recipient("jane", "a.example"),
        Recipient("jane", "b.example"),
        Recipient("bob"),
        Recipient("jane.doe", "b.example"),
    ]
    assert _keys(*everybody, exempt=exempt) == left


def test_an_exempt_address_is_exempt_under_a_bare_key_too() -> None:
    assert _keys(JANE, form=KeyForm.LOCAL, exempt="jane@example.net") == []


def test_a_key_by_address_needs_a_domain() -> None:
    with pytest.raises(OptionError, match="--key address"):
        _keys(Recipient("jane"), form=KeyForm.ADDRESS)


def test_of_two_who_share_a_key_and_differ_neither_is_listed() -> None:
    same = [(Recipient("Jane"), b"a"), (Recipient("jane"), b"a"), (Recipient("bob"), b"a")]
    assert entries(same) == [Entry(b"bob", b"a"), Entry(b"jane", b"a")]
    assert entries([*same, (Recipient("JANE"), b"b")]) == [Entry(b"bob", b"a")]


def _verdict(used: int, limit: int = 100000, *, approximate: bool = False) -> Verdict:
    root = QuotaRoot("user.jane", storage=Usage(used, limit))
    return Verdict(JANE, root, LMTPD.over(root), (), approximate)


def _value(map_values: MapValues, verdict: Verdict) -> bytes:
    ((_, status),) = map_values.statuses([verdict])
    return map_values.of(status)


@pytest.mark.parametrize("name", ["lsearch", "cdb"])
def test_what_each_user_is_answered(name: str) -> None:
    full, near = _verdict(100001), _verdict(99000)
    plain = MapValues(FORMATS[name])
    assert _value(plain, full) == DEFERRAL
    assert _value(MapValues(FORMATS[name], "452 4.2.2 Full"), full) == b":defer: 452 4.2.2 Full"
    sized = MapValues(FORMATS[name], headroom=5000)
    assert (_value(sized, full), _value(sized, near)) == (DEFERRAL, b"free=1000")


def test_who_is_full_by_the_reserve_is_deferred_whatever_the_headroom() -> None:
    map_values = MapValues(lsearch, reserve=Reserve({Resource.STORAGE: 2000}), headroom=5000)
    assert map_values.effective_reserve.amounts == {Resource.STORAGE: 5000}
    assert _value(map_values, _verdict(99000)) == DEFERRAL
    assert _value(map_values, _verdict(97000)) == b"free=3000"


def test_only_who_is_certainly_full_is_refused_for_good() -> None:
    map_values = MapValues(lsearch, refuse=True, reserve=Reserve({Resource.STORAGE: 2000}))
    assert _value(map_values, _verdict(100001)) == REFUSAL
    assert _value(map_values, _verdict(100001, approximate=True)) == DEFERRAL
    assert _value(map_values, _verdict(99000)) == DEFERRAL


@pytest.mark.parametrize(
    ("message", "refuse", "value"),
    [
        ("Full", False, b":defer: Full"),
        ("4.2.2 Full", False, b":defer: 4.2.2 Full"),
        ("450 Full", False, b":defer: 450 Full"),
        ("Full", True, b":fail: 552 5.2.2 Full"),
        ("5.7.1 Full", True, b":fail: 552 5.7.1 Full"),
        ("550 5.2.2 Full", True, b":fail: 550 5.2.2 Full"),
        ("x" * 75, False, b":defer: " + b"x" * 75),
        ("x" * 76, False, None),
        ("x" * 66, True, None),
        *((text, False, None) for text in ("", " ", " Full", "Full ", "a\nb", "f\xfcll")),
        *((text, False, None) for text in ("550 Full", "5.2.2 Full", "421 Full", "452 5.2.2 Full")),
        *((text, True, None) for text in ("450 Full", "4.2.2 Full", "552 4.2.2 Full", "250 Ok")),
    ],
)
def test_messages(message: str, refuse: bool, value: Optional[bytes]) -> None:
    map_values = MapValues(lsearch, message, refuse)
    if value is None:
        with pytest.raises(OptionError):
            map_values.check()
    else:
        map_values.check()
        assert _value(map_values, _verdict(100001)) == value


@pytest.mark.parametrize(
    ("given", "expected"), [("0", 0), ("5000", 5000), ("1.5K", 1536), ("2M", 2 << 20)]
)
def test_sizes(given: str, expected: int) -> None:
    assert size("--headroom", given) == expected


@pytest.mark.parametrize("given", ["", "5%", "-1", "MESSAGE=5", "5 M", "5MB", "\u0665"])
def test_what_is_no_size(given: str) -> None:
    with pytest.raises(OptionError, match="--headroom: expected a size such as 50M"):
        size("--headroom", given)


@pytest.mark.parametrize(
    ("message", "value"),
    [
        ("Full", b"DEFER_IF_PERMIT 4.2.2 Full"),
        ("4.3.1 Full", b"DEFER_IF_PERMIT 4.3.1 Full"),
        ("452 Full", b"452 4.2.2 Full"),
        ("452 4.3.1 Full", b"452 4.3.1 Full"),
    ],
)
def test_messages_for_postfix(message: str, value: bytes) -> None:
    assert postfix.deferral(message) == value


def test_postfix_cannot_compare_sizes() -> None:
    with pytest.raises(OptionError, match="--headroom"):
        MapValues(postfix, headroom=1).check()


def test_a_table_for_postfix() -> None:
    listed = [
        Entry(key, b"452 4.2.2 Full")
        for key in (
            b"jane",
            b"jane@example.net",
            b'a"b@example.net',
            b"jane doe",
            b"lat\xfcn",
            b"#x",
            b"a\tb",
            "j\u00fcrgen".encode(),
        )
    ]
    assert postfix.document(listed, ["roots: 9"]).decode().splitlines() == [
        "# roots: 9",
        "jane@ 452 4.2.2 Full",
        "jane@example.net 452 4.2.2 Full",
        '"a\\"b"@example.net 452 4.2.2 Full',
        '"jane doe"@ 452 4.2.2 Full',
        "j\u00fcrgen@ 452 4.2.2 Full",
    ]


def test_the_smallest_cdb_by_hand() -> None:
    """Without entries: the comments under the empty key, whose hash is 5381 = 21 * 256 + 5."""
    header = [(0, 0)] * 256
    records = struct.pack("<II", 0, 3) + b"a\nb"
    table = [(0, 0), (5381, 2048)]
    for number in range(256):
        header[number] = (2048 + len(records) + (16 if number > 5 else 0), 2 if number == 5 else 0)
    expected = b"".join(struct.pack("<II", *pair) for pair in header)
    expected += records + b"".join(struct.pack("<II", *pair) for pair in table)
    assert cdb.document([], ["a", "b"]) == expected


key = st.binary(min_size=1, max_size=20).map(lambda data: data.replace(b"\0", b"\1").lower())
sorted_entries = st.dictionaries(key, st.integers(0, 99)).map(
    lambda found: [Entry(key, b":defer: %d" % value) for key, value in sorted(found.items())]
)
COMMENTS = ["Written by cyrusquota-export", "source: /a: b", "roots: 12"]


@pytest.mark.parametrize("name", FORMATS)
@given(listed=sorted_entries)
def test_the_header_is_found_again_and_do_not_count(name: str, listed: list[Entry]) -> None:
    written = FORMATS[name]
    document = written.document(listed, COMMENTS)
    assert written.comments(document) == COMMENTS
    assert written.body(document) == written.body(written.document(listed, ["others"]))


@pytest.mark.parametrize("name", FORMATS)
def test_the_keys_of_a_map(name: str) -> None:
    listed = [
        Entry(key, b"452 4.2.2 Full: x@y") for key in (b"a b@c.example", b"jane", b"joe@c.example")
    ]
    spelled = {
        "cdb": {b"a b@c.example", b"jane", b"joe@c.example"},
        "lsearch": {b'"a b@c.example"', b"jane", b"joe@c.example"},
        "postfix": {b'"a b"@c.example', b"jane@", b"joe@c.example"},
    }
    assert FORMATS[name].keys(FORMATS[name].document(listed, COMMENTS)) == spelled[name]


@given(listed=sorted_entries)
def test_the_body_of_a_cdb_is_that_of_an_lsearch_file(listed: list[Entry]) -> None:
    assert cdb.body(cdb.document(listed, COMMENTS)) == lsearch.body(lsearch.document(listed, []))


@pytest.mark.parametrize("name", FORMATS)
@given(content=st.binary(max_size=3000), listed=sorted_entries, cut=st.integers(0, 3000))
def test_any_bytes_have_a_body(name: str, content: bytes, listed: list[Entry], cut: int) -> None:
    written = FORMATS[name]
    document = written.document(listed, COMMENTS)
    for damaged in (content, document[:cut], document[:cut] + content, content * 3):
        assert isinstance(written.body(damaged), bytes)
        assert isinstance(written.comments(damaged), list)
        assert isinstance(written.keys(damaged), set)
