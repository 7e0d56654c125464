"""Our verdicts beside those of the daemons, where more counts than a user's own root."""

from __future__ import annotations

from typing import Iterable, Mapping, Optional

import cyrusquota
from cyrusquota.site.site import Site
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Query
from cyrusquota.verdicts.policies import LMTPD, SMMAPD, Policy

from . import commands
from .cyrus import DOMAIN, Cyrus

#: lmtpd's answers to a RCPT: over quota, for now or for good, and nobody of that name.
OVER, UNKNOWN = (452, 552), 550
FULL = b"%(S (999999 1) M (0) AS (0) NF (0))"
ROOMY = b"%(S (5 100000) M (0) AS (0) NF (0))"


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


def assert_told(
    cyrus: Cyrus, codes: Mapping[str, int], *options: str, said: Optional[str] = None
) -> None:
    """lmtpd answers a RCPT of each user with these codes; export and explain say the same.

    `options` are for both commands. The export must be silent, or have `said` in what it says.
    """
    addresses = {user: _address(user) for user in codes}
    replies = cyrus.lmtp_rcpts(addresses.values())
    assert dict(zip(codes, (reply.code for reply in replies))) == dict(codes), "lmtpd"
    assert_listed(cyrus, [user for user in codes if codes[user] in OVER], *options, said=said)
    explained = {user: _explained_code(cyrus, to, *options) for user, to in addresses.items()}
    assert explained == dict(codes), "explain"


def assert_listed(
    cyrus: Cyrus, users: Iterable[str], *options: str, said: Optional[str] = None
) -> None:
    """The export lists just these."""
    done, keys = commands.mapped("-C", str(cyrus.conf), *options)
    assert done.returncode == 0, done
    assert {_address(key) for key in keys} == {_address(user) for user in users}, done.stderr
    if said is None:
        assert done.stderr == b""
    else:
        assert said in done.stderr.decode()


def _explained_code(cyrus: Cyrus, asked: str, *options: str) -> int:
    found = commands.explained(cyrus.conf, asked, *options)
    return UNKNOWN if found is None else int(found["server"]["reply"][:3])


def _address(user: str) -> str:
    return user if "@" in user else f"{user}@{DOMAIN}"
