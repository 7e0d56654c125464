"""Whom lmtpd refuses mail for."""

from __future__ import annotations

import pytest

from cyrusquota.cyrus.names import Naming, Recipient
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.verdicts.evaluator import Query, Unresolved, Verdict, evaluate_roots, is_inherited
from cyrusquota.verdicts.policies import LMTPD, LMTPD_STRICT, SMMAPD, Policy, Reserve
from cyrusquota.verdicts.selection import prefilter
from tests.recorded_fixtures import Expected, main_roots

#: The users among the recorded roots whom a real lmtpd refused, and whom an address leads to (so
#: nobody with a name that is not ASCII, which LMTP cannot carry).
REFUSED = {
    "user.-dash": "-dash",
    "user.123": "123",
    "user.allover": "allover",
    "user.annover": "annover",
    "user.big31o": "big31o",
    "user.big53": "big53",
    "user.dlneg": "dlneg",
    "user.huge": "huge",
    "user.jane^doe": "jane.doe",
    "user.limovf": "limovf",
    "user.msgover": "msgover",
    "user.nfover": "nfover",
    "user.nomodseq": "nomodseq",
    "user.old": "old",
    "user.oldmulti": "oldmulti",
    "user.over1": "over1",
    "user.scan": "scan",
    "user.zero1": "zero1",
}
IN_DOMAINS = {
    "example.org!user.max": "max@example.org",
    "sub.example.org!user.mia": "mia@sub.example.org",
}


def _domain_root(problem: CyrusQuotaError) -> None:
    """Among the recorded roots is a full one of a whole domain, whose users are not known."""
    assert isinstance(problem, Unresolved)


@pytest.mark.parametrize("expected", main_roots().values(), ids=lambda root: ascii(root.name)[:40])
def test_a_root_is_over_exactly_where_lmtpd_refused(expected: Expected) -> None:
    assert frozenset(LMTPD.over(expected.root)) == expected.over


@pytest.mark.parametrize(
    ("naming", "in_domains"), [(Naming(), IN_DOMAINS), (Naming(virtdomains=False), {})]
)
def test_the_refused_are_users_whom_an_address_leads_to(
    naming: Naming, in_domains: dict[str, str]
) -> None:
    roots = (root.root for root in main_roots().values())
    found = evaluate_roots(roots, Query(naming, on_problem=_domain_root))
    addresses = {verdict.root.name: str(verdict.recipient) for verdict in found}
    # A name of 200 letters, too long to spell out.
    (long,) = [name for name in addresses if name.startswith("user.llll")]
    assert addresses.pop(long) == long[len("user.") :]
    assert addresses == {**REFUSED, **in_domains}


def test_names_with_capitals_are_refused_where_lmtpd_does_not_fold() -> None:
    roots = (root.root for root in main_roots().values())
    naming = Naming(virtdomains=False, downcase=False)
    found = evaluate_roots(roots, Query(naming, on_problem=_domain_root))
    addresses = {str(verdict.recipient) for verdict in found}
    assert {"UpperCase", "onlyM", "onlyS", "&AMQ-rger"} <= addresses


def test_a_verdict_says_what_the_root_is_full_of() -> None:
    root = QuotaRoot("user.jane", storage=Usage(2, 1), mailbox=Usage(5, 4))
    assert list(evaluate_roots([root], Query(Naming()))) == [
        Verdict(Recipient("jane"), root, (Resource.STORAGE, Resource.MAILBOX))
    ]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *(("user", True), ("example.org!", True), ("example.org!user", True)),
        *(("user.jane", False), ("example.org!user.max", False), ("shared", False), ("", False)),
        *(("example.org!shared", False), ("user.jane.archive", False)),
    ],
)
def test_users_without_a_root_are_below_user_and_whole_domains(name: str, is_one: bool) -> None:
    assert is_inherited(QuotaRoot(name)) == is_one


@pytest.mark.parametrize(
    "name",
    ["user.jane.archive", "shared.news", "shared", "DELETED.user.jane.5F3A1B2C"],
)
def test_roots_that_are_no_inbox_refuse_nobody(name: str) -> None:
    assert list(evaluate_roots([QuotaRoot(name, storage=Usage(2, 1))], Query(Naming()))) == []


def test_a_policy_may_ask_for_room_and_ignore_resources() -> None:
    policy = Policy("room for one more message", {Resource.STORAGE: 0, Resource.MESSAGE: 1})
    root = QuotaRoot("user.jane", Usage(1, 1), Usage(10, 10), Usage(2, 1), Usage(2, 1))
    assert policy.over(root) == (Resource.MESSAGE,)
    assert LMTPD.over(root) == (Resource.ANNOTATION_STORAGE, Resource.MAILBOX)


def test_a_report_that_is_not_exact_proves_only_what_is_certain() -> None:
    assert LMTPD.over(QuotaRoot("user.a", storage=Usage(10240, 10240, exact=False))) == ()
    assert LMTPD.over(QuotaRoot("user.a", storage=Usage(11264, 10240, exact=False))) != ()


@pytest.mark.parametrize(
    ("policy", "reserve", "data", "is_wanted"),
    [
        (SMMAPD, Reserve(), b"%(S (0) M (0) AS (0) NF (101 100))", False),
        (
            SMMAPD,
            Reserve(percents={Resource.MAILBOX: 5}),
            b"%(S (0) M (0) AS (0) NF (96 100))",
            True,
        ),
        (
            SMMAPD,
            Reserve(percents={Resource.MAILBOX: 5}),
            b"%(S (0) M (0) AS (0) NF (9 100))",
            False,
        ),
        (SMMAPD, Reserve({Resource.MAILBOX: 5}), b"%(S (0) M (0) AS (0) NF (96 100))", True),
        (SMMAPD, Reserve({Resource.MAILBOX: 5}), b"%(S (0) M (0) AS (0) NF (9 100))", False),
        (LMTPD, Reserve(), b"%(S (0) M (0) AS (0) NF (101 100))", True),
        (LMTPD, Reserve(), b"%(S (0) M (0) AS (0) NF (100 100))", False),
        (LMTPD_STRICT, Reserve(), b"%(S (0) M (100 100) AS (0) NF (0))", True),
        (LMTPD_STRICT, Reserve(), b"%(S (0) M (99 100) AS (0) NF (0))", False),
    ],
)
def test_what_is_read_closely_is_what_may_be_full_or_near_it(
    policy: Policy, reserve: Reserve, data: bytes, is_wanted: bool
) -> None:
    found = prefilter(policy, reserve)
    assert found.wants(data) == is_wanted
    assert found([b"user.a"], [data]) == ([0] if is_wanted else [])
