"""What routers, transports and ACLs of Exim do, from what `exim -bP` prints of them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Optional

import pytest

from cyrusquota.mta.exim import Driver, Exim
from cyrusquota.mta.recipients import (
    NOBODY,
    acls_at_rcpt,
    domains_outside,
    router_of_unknown,
    verifies_recipients,
)
from cyrusquota.mta.router import alias_routers, delivering_routers
from cyrusquota.mta.transport import leads_to_cyrus
from tests.fake_exim import FakeExim

LMTP = Driver("to_cyrus", {"driver": "lmtp"})
#: A redirect router that looks up aliases, as -bP prints it.
ALIASES = {
    "driver": "redirect",
    "data": "${lookup{$local_part}lsearch{/etc/aliases}}",
    "file": "",
    "verify_recipient": "yes",
    "verify_only": "no",
    "check_local_user": "no",
}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"driver": "lmtp", "socket": "/run/cyrus/socket/lmtp"}, True),
        ({"driver": "smtp", "protocol": "lmtp"}, True),
        ({"driver": "smtp", "protocol": "smtp"}, False),
        ({"driver": "smtp"}, False),
        ({"driver": "pipe", "command": "/usr/lib/cyrus/bin/deliver -q -a x -- $local_part"}, True),
        ({"driver": "pipe", "command": "/usr/sbin/cyrdeliver $local_part"}, True),
        ({"driver": "pipe", "command": "/usr/bin/procmail"}, False),
        ({"driver": "pipe", "command": ""}, False),
        ({"driver": "pipe", "command": "deliver 'unclosed"}, False),
        ({"driver": "appendfile"}, False),
    ],
)
def test_transports_that_lead_to_cyrus(options: dict[str, str], expected: bool) -> None:
    assert leads_to_cyrus(Driver("t", options)) is expected


@pytest.mark.parametrize(
    ("transport", "expected"),
    [("to_cyrus", True), ("other", False), ("", False), ("${lc:TO_CYRUS}", True)],
)
def test_routers_that_deliver_to_cyrus(transport: str, expected: bool) -> None:
    router = Driver("r", {"transport": transport})
    found = delivering_routers([Driver("first", {"transport": "x"}), router], [LMTP])
    assert (router in found) is expected
    assert delivering_routers([router], [Driver("x", {"driver": "smtp"})]) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, True),
        ({"data": "", "file": "/etc/mail/$domain"}, True),
        ({"data": ":blackhole:"}, False),
        ({"driver": "accept"}, False),
        ({"verify_recipient": "no"}, False),
        # Our own.
        ({"verify_only": "yes"}, False),
        # Debian's lowuid_aliases, and a .forward.
        ({"check_local_user": "yes"}, False),
    ],
)
def test_routers_that_look_up_aliases(options: dict[str, str], expected: bool) -> None:
    routers = [Driver("first", {}), Driver("r", {**ALIASES, **options})]
    assert list(alias_routers(routers)) == ([(1, routers[1])] if expected else [])


# --- ACLs ---

CONFIGURATION = """\
acl_smtp_rcpt = check

begin acl

  check:
    accept  hosts = :
    require acl = ours

  ours:
    require verify = recipient{}

  unused:
    require verify = sender

begin routers
"""


@pytest.fixture
def fake(tmp_path: Path) -> FakeExim:
    made = FakeExim(tmp_path / "fake")
    made.set("acl_smtp_rcpt", "check")
    made.show("config", CONFIGURATION.format(""))
    return made


def test_the_acls_at_rcpt_are_those_that_are_called(fake: FakeExim) -> None:
    acls = acls_at_rcpt(fake.exim)
    assert verifies_recipients(acls)
    assert "verify = sender" not in acls
    fake.set("acl_smtp_rcpt", "unused")
    assert not verifies_recipients(acls_at_rcpt(fake.exim))
    # The name is worked out for each message, so it may be any.
    fake.set("acl_smtp_rcpt", "${if {1}{1}{check}{unused}}")
    assert verifies_recipients(acls_at_rcpt(fake.exim))


class Answering(Exim):
    """An Exim that accepts everybody, and sends them to Cyrus."""

    asked: list[str] = []

    def _run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        self.asked.append(arguments[-1])
        return subprocess.CompletedProcess(
            arguments, 0, f"{arguments[-1]} verified\n  router = cyrus, transport = to_cyrus\n", ""
        )


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        ("", ("cyrus", "to_cyrus")),
        ("/callout=3s,defer_ok,use_sender", None),
        ("/success_on_redirect/callout", None),
        ("/defer_ok", ("cyrus", "to_cyrus")),
        ("\n    warn set acl_m_x = ${readsocket{/run/cyrus/socket/smmap}{x}}", None),
        ("\n    require verify = sender/callout", ("cyrus", "to_cyrus")),
    ],
)
def test_acls_that_ask_cyrus_refuse_unknown_users(
    recipient: str, expected: Optional[tuple[str, str]], fake: FakeExim
) -> None:
    fake.show("config", CONFIGURATION.format(recipient))
    acls = acls_at_rcpt(fake.exim)
    Answering.asked.clear()
    assert router_of_unknown(Answering("exim"), "example.net", acls) == expected
    assert set(Answering.asked) == ({f"{NOBODY}@example.net"} if expected else set())


# --- domains ---


class Expanding(Exim):
    """An Exim that has asked, and gives an answer back."""

    asked: list[str] = []

    def expanded(self, text: str) -> Optional[str]:
        self.asked.append(text)
        return "a.example "


def test_domains_are_matched_against_a_list() -> None:
    Expanding.asked.clear()
    names = ["a.example", "b.example"]
    assert domains_outside(Expanding("exim"), names, "+local_domains") == ["a.example"]
    assert Expanding.asked == [
        "${if match_domain{a.example}{+local_domains}{}{a.example }}"
        "${if match_domain{b.example}{+local_domains}{}{b.example }}"
    ]


def test_what_exim_would_run_is_not_asked_about() -> None:
    Expanding.asked.clear()
    names = ["x${run{/bin/true}}", "a}b.example", "a b.example", "a\\b.example", "a.example", ""]
    assert domains_outside(Expanding("exim"), names, "+local_domains") == ["a.example"]
    assert Expanding.asked == ["${if match_domain{a.example}{+local_domains}{}{a.example }}"]


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        ([], "+local_domains"),
        (["${x}"], "+local_domains"),
        (["a.example"], ""),
        (["a.example"], "${lookup{$domain}x}"),
    ],
)
def test_a_list_that_means_nothing_without_a_message_is_not_asked(
    names: list[str], listed: str
) -> None:
    Expanding.asked.clear()
    assert domains_outside(Expanding("exim"), names, listed) == []
    assert Expanding.asked == []
