"""Policies, reserves, and verdicts on users with and without a root of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import attrs
import pytest

from cyrusquota.cli.option_types import reserve
from cyrusquota.cyrus.names import Naming
from cyrusquota.errors import CyrusQuotaError, DamagedDatabase, OptionError
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.site.conversations import Totals
from cyrusquota.site.site import Site
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Approximate, Query, Unresolved, Verdict
from cyrusquota.verdicts.policies import LMTPD, LMTPD_STRICT, SMMAPD, Policy, Reserve
from tests.mailboxes import Mailboxes

MIB = 1 << 20
FULL = Usage(11, 10)
EXACT = Usage(10, 10)


def _root(name: str = "user.jane", **usages: Usage) -> QuotaRoot:
    return QuotaRoot(name, **usages)


@pytest.mark.parametrize(
    ("policy", "resource", "usage", "is_over"),
    [
        (LMTPD, "STORAGE", EXACT, False),
        (LMTPD, "STORAGE", FULL, True),
        (LMTPD, "MESSAGE", EXACT, False),
        (LMTPD, "ANNOTATION_STORAGE", FULL, True),
        (LMTPD, "MAILBOX", FULL, True),
        (LMTPD_STRICT, "STORAGE", EXACT, False),
        (LMTPD_STRICT, "MESSAGE", EXACT, True),
        (LMTPD_STRICT, "MAILBOX", EXACT, False),
        (SMMAPD, "STORAGE", EXACT, False),
        (SMMAPD, "MESSAGE", EXACT, True),
        (SMMAPD, "MESSAGE", Usage(9, 10), False),
        (SMMAPD, "ANNOTATION_STORAGE", FULL, False),
        (SMMAPD, "MAILBOX", FULL, False),
        (LMTPD, "STORAGE", Usage(2**62, None), False),
        (LMTPD_STRICT, "MESSAGE", Usage(2**63 - 1, 5), False),
    ],
)
def test_each_daemon_has_its_rule(
    policy: Policy, resource: str, usage: Usage, is_over: bool
) -> None:
    """The last case wraps: 2**63 - 1 and one more is negative in Cyrus."""
    over = policy.over(QuotaRoot.of("user.jane", {Resource[resource]: usage}))
    assert [found.name for found in over] == ([resource] if is_over else [])


@pytest.mark.parametrize(
    ("given", "usage", "is_near"),
    [
        ("50M", Usage(50 * MIB, 100 * MIB), False),
        ("50M", Usage(50 * MIB + 1, 100 * MIB), True),
        ("50M", Usage(100 * MIB, 100 * MIB), True),
        ("50M", Usage(100 * MIB + 1, 100 * MIB), False),
        ("512K", Usage(100 * MIB - 512 * 1024, 100 * MIB), False),
        ("2%", Usage(98, 100), False),
        ("2%", Usage(99, 100), True),
        ("2.5%", Usage(976, 1000), True),
        ("STORAGE=1K", Usage(100, 100), True),
        ("STORAGE=1K", Usage(2048, 3072), False),
        ("STORAGE=1K", Usage(2049, 3072), True),
        ("MESSAGE=5", Usage(100, 100), False),
        ("50M", Usage(10**15, None), False),
    ],
)
def test_a_reserve_makes_near_who_has_less_left(given: str, usage: Usage, is_near: bool) -> None:
    near = reserve((given,)).near(_root(storage=usage))
    assert near == ((Resource.STORAGE,) if is_near else ())


@pytest.mark.parametrize("given", ["50K", "2%", "MESSAGE=3", "mailbox=1K", "1.5G"])
def test_amounts_of_every_form_are_taken(given: str) -> None:
    assert reserve((given,)) != Reserve()


@pytest.mark.parametrize("given", ["", "much", "-5", "5X", "PAPER=5", "5 M", "M5", "1e9"])
def test_what_is_no_amount_is_refused(given: str) -> None:
    with pytest.raises(OptionError, match="--reserve: expected an amount"):
        reserve((given,))


@pytest.mark.parametrize("given", ["50", "0.5", "STORAGE=50", "annotation-storage=1"])
def test_an_amount_of_space_needs_a_unit(given: str) -> None:
    with pytest.raises(OptionError, match=f"expected a unit behind {given}: "):
        reserve((given,))


def test_full_and_near_are_told_apart() -> None:
    roots = [_root("user.full", storage=FULL), _root("user.near", storage=Usage(9, 10))]
    found = list(
        evaluator.evaluate_roots(roots, Query(Naming(), reserve=Reserve({Resource.STORAGE: 5})))
    )
    assert [(str(verdict.recipient), verdict.over, verdict.near) for verdict in found] == [
        ("full", (Resource.STORAGE,), ()),
        ("near", (), (Resource.STORAGE,)),
    ]


@pytest.fixture
def mailboxes(tmp_path: Path) -> Mailboxes:
    return Mailboxes(tmp_path)


def _listed(found: list[Verdict]) -> list[str]:
    return [str(verdict.recipient) for verdict in found]


def test_only_live_users_are_listed(mailboxes: Mailboxes) -> None:
    mailboxes.add("user.jane", "user.jane")
    roots = [_root("user.jane", storage=FULL), _root("user.ghost", storage=FULL)]
    found = list(evaluator.evaluate_roots(roots, Query(Naming(), site=mailboxes.site())))
    assert _listed(found) == ["jane"]


def test_lmtpd_goes_by_the_header_and_smmapd_by_the_database(mailboxes: Mailboxes) -> None:
    for user, root in (("a", "user"), ("b", None), ("c", "user.c"), ("own", "user.own")):
        mailboxes.add(f"user.{user}", root)
    roots = [_root("user", storage=FULL), _root("user.own", storage=EXACT)]
    for policy, users in ((LMTPD, ["a"]), (SMMAPD, ["a", "b", "c"])):
        found = list(
            evaluator.evaluate_roots(roots, Query(Naming(), policy, site=mailboxes.site()))
        )
        assert _listed(found) == users
        assert [verdict.root.name for verdict in found] == ["user"] * len(users)


def test_without_a_header_the_database_decides_and_a_line_says_so(mailboxes: Mailboxes) -> None:
    mailboxes.add("user.jane", "user")
    mailboxes.header("user.jane").unlink()
    problems: list[CyrusQuotaError] = []
    found = list(
        evaluator.evaluate_roots(
            [_root("user", storage=FULL)],
            Query(Naming(), site=mailboxes.site(), on_problem=problems.append),
        )
    )
    assert [(str(verdict.recipient), verdict.is_approximate) for verdict in found] == [
        ("jane", True)
    ]
    assert [type(problem) for problem in problems] == [Approximate]


@pytest.mark.parametrize("name", ["user", "example.org!", "example.org!user"])
def test_without_mailboxes_full_ancestors_are_reported(name: str) -> None:
    problems: list[CyrusQuotaError] = []
    roots = [_root(name, storage=FULL), _root("shared.news", storage=FULL)]
    found = list(evaluator.evaluate_roots(roots, Query(Naming(), on_problem=problems.append)))
    assert found == []
    assert [type(problem) for problem in problems] == [Unresolved]
    assert repr(name) in str(problems[0])


def test_users_who_differ_by_case_alone_are_listed_only_if_all_are_full() -> None:
    roots = [
        *(_root("user.Jane", storage=FULL), _root("user.jane", storage=EXACT)),
        *(_root("user.Bob", storage=FULL), _root("user.bob", storage=FULL)),
        *(_root("user.ANN", storage=EXACT), _root("user.Ann", storage=FULL)),
        _root("user.Max", storage=FULL),
    ]
    found = list(evaluator.evaluate_roots(roots, Query(Naming(downcase=False))))
    assert _listed(found) == ["Bob", "bob", "Max"]
    assert _listed(list(evaluator.evaluate_roots(roots, Query(Naming())))) == ["bob"]


@pytest.mark.parametrize(
    ("root", "totals", "expected"),
    [
        (_root(storage=FULL), Totals(1, 10), []),
        (_root(storage=EXACT), Totals(1, 11), ["jane"]),
        (_root(message=FULL), Totals(10, 99), []),
        (_root(message=EXACT), Totals(11, 99), ["jane"]),
        (_root(mailbox=FULL), None, ["jane"]),
        (_root(storage=Usage(99, None)), None, []),
        (_root(storage=EXACT, mailbox=FULL), None, ["jane"]),
    ],
)
def test_totals_count_and_are_read_only_where_they_can_matter(
    mailboxes: Mailboxes,
    root: QuotaRoot,
    totals: Optional[Totals],
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No totals stands for totals that must not be asked for."""
    mailboxes.add("user.jane", "user.jane")

    def kept(self: Site, name: str, on_problem: object) -> Totals:
        assert totals is not None
        assert name == "user.jane"
        return totals

    monkeypatch.setattr(Site, "totals", kept)
    using = attrs.evolve(mailboxes, uses_totals=True).site()
    assert _listed(list(evaluator.evaluate_roots([root], Query(Naming(), site=using)))) == expected


def test_totals_that_cannot_be_read_leave_the_user_out(mailboxes: Mailboxes) -> None:
    mailboxes.add("user.jane", "user.jane")
    using = attrs.evolve(mailboxes, uses_totals=True).site()
    path = Path(using.totals_path("user.jane"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0" + b"\0" * 44)
    problems: list[CyrusQuotaError] = []
    found = evaluator.evaluate_roots(
        [_root(storage=FULL)], Query(Naming(), site=using, on_problem=problems.append)
    )
    assert list(found) == []
    assert [type(problem) for problem in problems] == [DamagedDatabase]
