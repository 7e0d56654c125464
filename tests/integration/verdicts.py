"""Our verdicts beside those of the daemons, where more counts than a user's own root."""

from __future__ import annotations

from typing import Iterable

import cyrusquota
from cyrusquota.site.site import Site
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Query
from cyrusquota.verdicts.policies import LMTPD, SMMAPD, Policy

from .cyrus import DOMAIN, Cyrus


def listed(cyrus: Cyrus, policy: Policy) -> set[str]:
    """The addresses we would list; every record must be readable and every verdict certain."""
    conf = cyrusquota.load(cyrus.conf)
    source = cyrusquota.from_config(conf)
    found = evaluator.evaluate_roots(
        source.roots(), Query(source.naming, policy, site=Site.from_config(conf))
    )
    return {_address(str(verdict.recipient)) for verdict in found}


def refused_by_lmtpd(cyrus: Cyrus, users: Iterable[str]) -> set[str]:
    return {_address(user) for user in users if cyrus.lmtp_rcpt(_address(user)).code == 452}


def refused_by_smmapd(cyrus: Cyrus, users: Iterable[str]) -> set[str]:
    addresses = [_address(user) for user in users]
    answers = cyrus.smmap(addresses)
    return {to for to, answer in zip(addresses, answers) if answer == "TEMP Over quota"}


def assert_agreement(cyrus: Cyrus, users: Iterable[str], refused: set[str]) -> None:
    """lmtpd and smmapd refuse whom we list, and lmtpd refuses exactly `refused`."""
    users = list(users)
    assert refused_by_lmtpd(cyrus, users) == {_address(user) for user in refused}
    assert listed(cyrus, LMTPD) == refused_by_lmtpd(cyrus, users)
    assert listed(cyrus, SMMAPD) == refused_by_smmapd(cyrus, users)


def _address(user: str) -> str:
    return user if "@" in user else f"{user}@{DOMAIN}"
