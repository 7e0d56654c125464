"""The entries of a map, and what Exim would do with their text."""

from __future__ import annotations

import pytest

from cyrusquota import maps
from cyrusquota.cyrus.names import Recipient
from cyrusquota.errors import OptionError
from cyrusquota.maps import Entry, KeyForm, deferral, entries

JANE, MAX = Recipient("jane"), Recipient("max", "example.org")


def keys(
    *recipients: Recipient, form: KeyForm = KeyForm.AUTO, exempt: tuple[str, ...] = ()
) -> list[bytes]:
    values = ((recipient, b"full") for recipient in recipients)
    return [entry.key for entry in entries(values, form=form, exempt=exempt)]


def test_the_default_message_fits_a_single_line_reply() -> None:
    assert deferral(maps.DEFAULT_MESSAGE) == (
        b":defer: 4.2.2 The user's mailbox is full. Please try re-sending your e-mail later."
    )
    assert len(maps.DEFAULT_MESSAGE) <= 75


@pytest.mark.parametrize(
    "message",
    [
        "Mailbox full",
        "4.2.2 Mailbox full",
        "452 4.2.2 Mailbox full",
        "450 4.2.2 Mailbox full",
        "499 Mailbox full",
        'a, #b (c) "d" \\e %f; {g} @h $local_part ${run{x}}',
        "452",
        "452-x",
        "452Mailbox",
        "x" * 75,
        "4.2.2 costs 5.2.2 250",
    ],
)
def test_a_message_that_exim_sends_as_it_is(message: str) -> None:
    assert deferral(message) == b":defer: " + message.encode()


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("", "empty"),
        ("  ", "empty"),
        (" x", "begin or end with a blank"),
        ("x ", "begin or end with a blank"),
        ("x\ty", "printable ASCII"),
        ("x\ny", "printable ASCII"),
        ("x\ry", "printable ASCII"),
        ("x\0y", "printable ASCII"),
        ("x\x7f", "printable ASCII"),
        ("Postfach \u00fcberf\u00fcllt", "printable ASCII"),
        ("x\udcff", "printable ASCII"),
        ("x" * 76, "76 bytes.* 75"),
        ("552 5.2.2 Mailbox full", "only 4xx defers"),
        ("250 OK", "only 4xx defers"),
        ("552 Mailbox full", "only 4xx defers"),
        ("421 4.2.2 Mailbox full", "421 closes the connection"),
        ("5.2.2 Mailbox full", "status other than 4.x.x"),
        ("452 5.2.2 Mailbox full", "status other than 4.x.x"),
    ],
)
def test_a_message_that_exim_would_alter_is_refused(message: str, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        deferral(message)


def test_entries_are_sorted_and_one_a_key() -> None:
    assert entries((one, b":defer: full") for one in (MAX, JANE, JANE)) == [
        Entry(b"jane", b":defer: full"),
        Entry(b"max@example.org", b":defer: full"),
    ]


def test_keys_are_folded_as_exim_compares_them() -> None:
    assert keys(Recipient("Jane"), Recipient("JANE"), Recipient("\u00c9mile")) == [
        b"jane",
        "\u00c9mile".encode(),
    ]


def test_names_keep_bytes_that_are_not_utf8() -> None:
    assert keys(Recipient("m\udcfcller")) == [b"m\xfcller"]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (KeyForm.AUTO, [b"jane", b"max@example.org"]),
        (KeyForm.LOCAL, [b"jane", b"max"]),
    ],
)
def test_the_form_of_keys(form: KeyForm, expected: list[bytes]) -> None:
    assert keys(JANE, MAX, form=form) == expected


def test_addresses_need_a_domain() -> None:
    assert keys(MAX, form=KeyForm.ADDRESS) == [b"max@example.org"]
    with pytest.raises(OptionError, match=r"--key address: .*'jane'.*-C"):
        keys(JANE, MAX, form=KeyForm.ADDRESS)


@pytest.mark.parametrize("domain", [None, "example.org"])
@pytest.mark.parametrize("form", [KeyForm.AUTO, KeyForm.LOCAL])
def test_postmaster_is_never_listed(domain: str, form: KeyForm) -> None:
    assert keys(Recipient("Postmaster", domain), JANE, form=form) == [b"jane"]


@pytest.mark.parametrize(
    ("exempt", "expected"),
    [
        ("jane", [b"max@example.org", b"max@example.net"]),
        ("JANE", [b"max@example.org", b"max@example.net"]),
        ("max", [b"jane"]),
        ("max@example.org", [b"jane", b"max@example.net"]),
        ("Max@Example.Org", [b"jane", b"max@example.net"]),
        ("jane@example.org", [b"jane", b"max@example.org", b"max@example.net"]),
    ],
)
def test_the_exempt_are_not_listed(exempt: str, expected: list[bytes]) -> None:
    found = keys(JANE, MAX, Recipient("max", "example.net"), exempt=(exempt,))
    assert found == sorted(expected)


def test_nobody_over_means_no_entries() -> None:
    assert entries([]) == []
