"""For each kind of user name: what lmtpd answers for the recipient is what the map implies."""

from __future__ import annotations

import itertools
import re
from typing import Iterator

import pytest

import cyrusquota
from cyrusquota import maps
from cyrusquota.site.site import Site
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Query

from .cyrus import DOMAIN, Cyrus

pytestmark = pytest.mark.integration

OTHER_DOMAIN = "example.org"
#: Local parts of every kind that some server has; those that Cyrus refuses to create are not asked.
LOCAL_PARTS = (
    *("jane", "jane.doe", "123", "-dash", "o'brien", "u_v", "#h", "~t", "a=b", "$d", "sub"),
    *("UpperCase", "caf&AOk-", "j&-k", "a+b", "n w", "x!y", "a^b", "a,b", "(p)", "*s", "dot."),
    *("a@b.c", "jörg", "a/b", 'q"t', "user.x.y", "DELETED", "anyone", "a" * 60),
)
#: At these each user is full; a value of the database, one byte over.
FULL = b"%(S (1 0) M (0) AS (0) NF (1))"

OPTIONS = {
    f"sep-{separator}-virt-{virtdomains}": {
        "unixhierarchysep": separator,
        "virtdomains": virtdomains,
        "defaultdomain": DOMAIN,
    }
    for separator, virtdomains in itertools.product(("no", "yes"), ("off", "userid"))
}
OPTIONS["virt-on-alt"] = {
    "unixhierarchysep": "yes",
    "altnamespace": "yes",
    "virtdomains": "on",
    "defaultdomain": DOMAIN,
}
OPTIONS["virt-internal"] = {"unixhierarchysep": "yes", "virtdomains": "userid"}
OPTIONS["caseful"] = {"unixhierarchysep": "yes", "lmtp_downcase_rcpt": "no"}


@pytest.fixture(scope="module", params=OPTIONS, ids=list(OPTIONS))
def cyrus(request: pytest.FixtureRequest, needs_cyrus: None) -> Iterator[Cyrus]:
    with Cyrus({"quota_db": "twoskip", **OPTIONS[request.param]}) as running:
        running.start()
        yield running


def _users(cyrus: Cyrus) -> list[str]:
    """The users that this server lets us create, each with a quota root."""
    domains = [""]
    if cyrus.options.get("virtdomains", "off") != "off":
        domains.append(f"@{OTHER_DOMAIN}")
    names = [local + domain for local, domain in itertools.product(LOCAL_PARTS, domains)]
    return cyrus.create_with_root(names, storage_kib=10)


def _recipients(user: str) -> Iterator[str]:
    """How mail would be addressed to a user, the local part in quotes where it must be."""
    local, _, domain = user.partition("@")
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+", local):
        local = '"{}"'.format(local.replace("\\", "\\\\").replace('"', '\\"'))
    yield f"{local}@{domain or DOMAIN}"
    yield f"{local}+folder@{domain or DOMAIN}"
    if not domain:
        yield local


def _keys(cyrus: Cyrus) -> set[str]:
    """What the map would be keyed by, with every root there is full."""
    database = cyrus.lib / "quotas.db"
    with cyrusquota.cyrusdb.open(database) as db:
        cyrus.store(database, "twoskip", {key: FULL for key, _ in db})
    conf = cyrusquota.load(cyrus.conf)
    source = cyrusquota.from_config(conf)
    verdicts = evaluator.evaluate_roots(
        source.roots(), Query(source.naming, site=Site.from_config(conf))
    )
    values = ((found.recipient, b"full") for found in verdicts)
    return {entry.key.decode() for entry in maps.entries(values)}


def _is_listed(recipient: str, keys: set[str]) -> bool:
    """Whether a router that looks for the address and then for the local part defers."""
    local, at, domain = recipient.partition("@")
    local = local.partition("+")[0]
    return f"{local}{at}{domain}".lower() in keys or local.lower() in keys


def test_lmtpd_refuses_exactly_the_recipients_that_the_map_has(cyrus: Cyrus) -> None:
    users = _users(cyrus)
    assert len(users) > 15
    keys = _keys(cyrus)
    asked = [recipient for user in users for recipient in _recipients(user)]
    answers = {recipient: cyrus.lmtp_rcpt(recipient).code for recipient in asked}
    refused = {recipient for recipient, code in answers.items() if code == 452}
    implied = {recipient for recipient in asked if _is_listed(recipient, keys)}
    assert refused - implied == _spelled_otherwise(cyrus, refused)
    assert implied - refused == _unknown_here(cyrus, implied)
    assert len(refused) > 15


def _spelled_otherwise(cyrus: Cyrus, refused: set[str]) -> set[str]:
    """Recipients that lead to a listed user by another spelling than the map's.

    lmtpd takes `^` for a dot. And where users without a domain live in defaultdomain, it knows
    them without it too, which no MTA sends.
    """
    bare = cyrus.options.get("virtdomains", "off") != "off" and "defaultdomain" in cyrus.options
    return {to for to in refused if "^" in to or (bare and "@" not in to)}


def _unknown_here(cyrus: Cyrus, implied: set[str]) -> set[str]:
    """Recipients that a key without a domain matches, though lmtpd knows them in no domain.

    With virtual domains and no defaultdomain, users without a domain have no address at all.
    """
    internal = cyrus.options.get("virtdomains", "off") != "off" and (
        "defaultdomain" not in cyrus.options
    )
    return {to for to in implied if internal and to.endswith(f"@{DOMAIN}")}
