"""Which recipient a root belongs to, and internal names of printed ones."""

from __future__ import annotations

from typing import Optional

import pytest

from cyrusquota.cyrus.names import (
    Naming,
    Recipient,
    domain_of,
    inbox_of_user,
    inbox_owner,
    internal_name,
    recipient,
    split_domain,
)

UNKNOWN = Naming()
OFF = Naming(virtdomains=False)
ON = Naming(virtdomains=True, defaultdomain="example.com")
ON_WITHOUT_DEFAULT = Naming(virtdomains=True)


@pytest.mark.parametrize(
    ("name", "domain", "rest"),
    [
        ("user.jane", None, "user.jane"),
        ("example.org!user.jane", "example.org", "user.jane"),
        ("example.org!", "example.org", ""),
        ("a!b!c", "a", "b!c"),
    ],
)
def test_the_domain_stands_before_the_first_exclamation_mark(
    name: str, domain: Optional[str], rest: str
) -> None:
    assert split_domain(name) == (domain, rest)


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("user.jane", None),
        ("shared.news", None),
        ("example.org!user.jane", "example.org"),
        ("example.org!shared.news", "example.org"),
        ("example.org!", "example.org"),
        ("user.jane@example^org", "example.org"),
        ("user.jane@example^org.Trash", "example.org"),
        ("user.@example^org", None),
        ("user.jane@", None),
        ("shared.jane@example^org", None),
    ],
)
def test_a_root_belongs_to_a_domain_or_the_site(name: str, domain: Optional[str]) -> None:
    assert domain_of(name) == domain


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("user.jane", (None, "jane")),
        ("user.jane^doe", (None, "jane.doe")),
        ("user.&AMQ-rger", (None, "&AMQ-rger")),
        ("user.m\udcfcller", (None, "m\udcfcller")),
        ("example.org!user.max", ("example.org", "max")),
        ("user.jane.archive", None),
        ("user", None),
        ("user.", None),
        ("users.jane", None),
        ("User.jane", None),
        ("shared.news", None),
        ("example.org!", None),
        ("example.org!shared.team", None),
        ("example.org!user.max.Trash", None),
        ("!user.jane", None),
        ("DELETED.user.gone.5F3A1B2C", None),
        ("", None),
    ],
)
def test_only_a_whole_user_name_is_an_inbox(
    name: str, owner: Optional[tuple[Optional[str], str]]
) -> None:
    assert inbox_owner(name) == owner


@pytest.mark.parametrize(
    ("name", "naming", "address"),
    [
        ("user.jane", UNKNOWN, "jane"),
        ("user.jane", OFF, "jane"),
        ("user.jane", ON, "jane@example.com"),
        ("user.jane", ON_WITHOUT_DEFAULT, "jane"),
        ("user.jane^doe", ON, "jane.doe@example.com"),
        ("example.org!user.max", UNKNOWN, "max@example.org"),
        ("example.org!user.max", ON, "max@example.org"),
        # Without virtdomains lmtpd ignores the domain of the recipient.
        ("example.org!user.max", OFF, None),
        # 2.x without virtdomains
        ("user.jane@example^org", OFF, "jane@example.org"),
        ("user.jane@example^org", UNKNOWN, "jane@example.org"),
        ("user.@example^org", OFF, None),
        # No address leads there: `+` begins a detail, and names are folded.
        ("user.a+b", OFF, None),
        ("user.UpperCase", OFF, None),
        ("Example.org!user.max", ON, None),
        ("user.UpperCase", Naming(downcase=False), "UpperCase"),
        ("user.a\0b", UNKNOWN, None),
        # Only ASCII is folded.
        ("user.jane.archive", UNKNOWN, None),
        ("shared.news", UNKNOWN, None),
        ("example.org!", ON, None),
        ("DELETED.user.gone.5F3A1B2C", UNKNOWN, None),
    ],
)
def test_a_root_belongs_to_the_recipient_whose_inbox_it_is(
    name: str, naming: Naming, address: Optional[str]
) -> None:
    found = recipient(name, naming)
    assert (None if found is None else str(found)) == address


@pytest.mark.parametrize("downcase", [True, False])
def test_nobody_is_in_the_default_domain_by_name(downcase: bool) -> None:
    """Cyrus 3.6.1 answered 250 for jane, by user.jane, and 550 for ghost, beside these rows."""
    naming = Naming(virtdomains=True, defaultdomain="example.com", downcase=downcase)
    for name in ("example.com!user.jane", "example.com!user.ghost"):
        assert recipient(name, naming) is None
    assert recipient("example.org!user.jane", naming) == Recipient("jane", "example.org")
    assert recipient("user.jane", naming) == Recipient("jane", "example.com")


@pytest.mark.parametrize(
    ("user", "inbox"),
    [
        ("lost", "user.lost"),
        ("lost.mail", "user.lost^mail"),
        ("lost@example.org", "example.org!user.lost"),
        ("lost@example.com", "user.lost"),
        ("lost@internal", "user.lost"),
        ("Lost", "user.Lost"),
    ],
)
def test_a_user_id_leads_to_the_inbox(user: str, inbox: str) -> None:
    assert inbox_of_user(user, ON) == inbox


def test_local_part_and_domain_are_kept_apart() -> None:
    assert recipient("example.org!user.a", ON) == Recipient("a", "example.org")


@pytest.mark.parametrize(
    "name",
    ["user.n w", "user.a,b", "user.(p)", 'user.q"t', "user.back\\slash", "user.caf\u00e9",
     "user.m\udcfcller", "user.a\tb", "user.a:b", "example.org!user.a@b", "user.jane\r"],
)  # fmt: skip
def test_nobody_whom_lmtp_cannot_name_is_a_recipient(name: str) -> None:
    """A real lmtpd takes no quoted local parts and nothing but ASCII (550 and 501)."""
    assert recipient(name, Naming()) is None


@pytest.mark.parametrize(
    ("printed", "internal"),
    [
        ("user/jane", "user.jane"),
        ("user/jane.doe", "user.jane^doe"),
        ("user/jane/my folder", "user.jane.my folder"),
        ("user/jane/&AOQA9gD8-", "user.jane.&AOQA9gD8-"),
        ("user/max@example.org", "example.org!user.max"),
        ("user/max.power@example.org", "example.org!user.max^power"),
        ("user/odd/5F3A1B2D@DELETED.example.org", "DELETED.example.org!user.odd.5F3A1B2D"),
        ("DELETED/user/x/5F3A1B2C", "DELETED.user.x.5F3A1B2C"),
        ("user.jane", "user.jane"),
        ("user.jane^doe", "user.jane^doe"),
        ("user.max@example.org", "example.org!user.max"),
        ("user.jane@example^org", "user.jane@example^org"),
        ("shared", "shared"),
        ("user.m\udcfcller", "user.m\udcfcller"),
        # 2.5 prints internal names.
        ("example.org!user.max", "example.org!user.max"),
        ("example.org!", "example.org!"),
        ("example.org!user.max^power", "example.org!user.max^power"),
    ],
)
def test_printed_names_lead_back_to_internal_ones(printed: str, internal: str) -> None:
    assert internal_name(printed) == internal
