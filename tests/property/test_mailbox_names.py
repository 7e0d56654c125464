"""Mailbox names and recipients."""

from __future__ import annotations

import re
from typing import Optional
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from cyrusquota.cyrus import names
from cyrusquota.cyrus.names import Naming, inbox_owner, internal_name, recipient
from cyrusquota.maps import KeyForm, entries, lsearch

_text = st.binary(max_size=30).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
_names = st.one_of(
    _text,
    _text.map("user.{}".format),
    st.tuples(_text, _text).map("{0[0]}!user.{0[1]}".format),
    st.lists(st.sampled_from(["user", ".", "!", "@", "^", "/", "+", "a", "A", "\0", " "])).map(
        "".join
    ),
)
#: Mostly like a user's INBOX.
_usual_names = st.builds(
    "{}user.{}".format,
    st.text("ab.!-", max_size=6).map(lambda text: f"{text}!") | st.sampled_from(["", "user.a!"]),
    st.text("ab.!@^-_~A", min_size=1, max_size=6),
)
_namings = st.builds(
    Naming,
    virtdomains=st.none() | st.booleans(),
    defaultdomain=st.none() | st.sampled_from(["example.com", "Example.com", ""]),
    downcase=st.booleans(),
)
_part = st.text(
    st.characters(exclude_characters=".^/!@\n\0", codec="utf-8"), min_size=1, max_size=8
)
_component = st.lists(_part, min_size=1, max_size=3).map("^".join)
_path = st.lists(_component, min_size=1, max_size=3).map(lambda parts: ".".join(["user", *parts]))
_domain = st.none() | st.sampled_from(["example.org", "sub.example.org"])


@given(_names, _namings)
def test_any_name_has_a_recipient_or_none(name: str, naming: Naming) -> None:
    to = recipient(name, naming)
    if to is not None:
        assert inbox_owner(name) is not None
        assert to.local
        assert "+" not in to.local
        # Whoever is found can be written to a map.
        for form in (KeyForm.AUTO, KeyForm.LOCAL):
            written = b"".join(lsearch.lines(entries([(to, b"full")], form=form)))
            assert written.count(b"\n") == (to.local.lower() != "postmaster")


@given(_usual_names | _names, _namings)
def test_a_usual_name_has_the_same_recipient_without_the_fast_way(
    name: str, naming: Naming
) -> None:
    with mock.patch.object(names, "_USUAL_INBOX", re.compile("(?!)")):
        expected = recipient(name, naming)
    assert recipient(name, naming) == expected


@given(_names)
def test_any_printed_name_has_an_internal_one(name: str) -> None:
    assert isinstance(internal_name(name), str)


@given(_path, _domain, st.booleans())
def test_external_names_lead_back(path: str, domain: Optional[str], slashes: bool) -> None:
    external = path.replace(".", "/").replace("^", ".") if slashes else path
    printed = external if domain is None else f"{external}@{domain}"
    assert internal_name(printed) == (path if domain is None else f"{domain}!{path}")


@given(_path, _domain)
def test_internal_names_stay(path: str, domain: Optional[str]) -> None:
    name = path if domain is None else f"{domain}!{path}"
    assert internal_name(name) == name
