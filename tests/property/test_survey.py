"""Sums by parts, in any process, are those of all roots and all INBOXes read one by one."""

from __future__ import annotations

import marshal
import tempfile
from collections import Counter
from pathlib import Path
from typing import Optional

from hypothesis import example, given
from hypothesis import strategies as st

from cyrusquota.cyrus.names import Naming, domain_of, domain_runs, inbox_owner
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.parse import columns, value
from cyrusquota.quota import QuotaRoot, Usage
from cyrusquota.site import source
from cyrusquota.site.mailboxes import InboxCount, InboxKeys, inboxes, is_delivered_to
from cyrusquota.site.site import Site
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Query
from cyrusquota.verdicts.policies import LMTPD, Policy, Reserve
from cyrusquota.verdicts.summary import Summary, Users
from cyrusquota.verdicts.survey import Survey, survey

from ..recorded_fixtures import FIXTURES
from .strategies import mutated
from .test_fast_paths import any_value, policies, reserves, small

_few = st.integers(0, 30)
_storage = st.builds(Usage, used=_few, limit=st.none() | _few) | st.builds(
    Usage, used=st.integers(0, 10**18 - 1), limit=st.none() | st.integers(0, 10**18)
)
_users = st.lists(
    st.builds(
        QuotaRoot,
        st.builds(
            "{}user.{}".format, st.sampled_from(["", "x.org!", "y!"]), st.sampled_from("abcd")
        ),
        _storage,
        st.builds(Usage, _few),
        st.builds(Usage, _few),
        st.builds(Usage, _few),
    ),
    min_size=1,
    max_size=30,
    # A source has each root once, and of two that are as full the name decides which is kept.
    unique_by=lambda root: root.name,
)


def figures(summary: Summary) -> object:
    return [*summary.state()[:-1], summary.fullest()]


@given(_users, policies, st.sampled_from([0, 9.5, 50, 90, 99.9, 150]), st.integers(0, 5))
def test_many_users_at_once_add_up_to_each_of_them(
    roots: list[QuotaRoot], policy: Policy, near: float, keep: int
) -> None:
    one_by_one, at_once = Summary(policy, near, keep), Summary(policy, near, keep)
    for root in roots:
        one_by_one.add(root)
    runs = domain_runs([root.name.encode() for root in roots])
    assert runs is not None
    used = [root.storage.used for root in roots]
    limits = [root.storage.limit for root in roots]
    at_once.add_users(Users(runs, used, limits, roots.__getitem__))
    assert figures(at_once) == figures(one_by_one)


@given(_users, _users, st.integers(0, 5))
def test_two_summaries_merge_to_one_of_all(
    some: list[QuotaRoot], others: list[QuotaRoot], keep: int
) -> None:
    whole, first, second = Summary(keep=keep), Summary(keep=keep), Summary(keep=keep)
    # A source has each root once; of two that are as full, the name decides which is kept.
    by_name = {root.name: (second, root) for root in others}
    by_name.update({root.name: (first, root) for root in some})
    for part, root in by_name.values():
        part.add(root)
        whole.add(root)
    first.merge(second.state())
    assert figures(first) == figures(whole)


_keys = st.lists(
    st.sampled_from(
        [
            *(b"user.a", b"x.org!user.a", b"x.org!user.b", b"x.org!user.b@c", b"user.a@x^org"),
            *(b"user.a.b", b"user.", b"user", b"x!", b"user.x!user.a", b"x!user.a!b", b"shared"),
            *(b"x.org!user.a.b", b"user.a\nb", b"a\n!user.b", b"\xff!user.\xff", b""),
        ]
    )
    | st.binary(max_size=6).map(b"user.".__add__),
    min_size=1,
    max_size=8,
)


@given(_keys)
@example([b"x.org!user.a", b"x.org!user.a.b", b"x.org!user.b"])
@example([b"user.x.org!user.a"])
def test_the_domains_of_many_names_are_those_of_each(keys: list[bytes]) -> None:
    runs = domain_runs(keys)
    names = columns.names(keys)
    assert names == [key.decode("utf-8", "surrogateescape") for key in keys]
    if runs is not None:
        assert [domain for domain, count in runs for _ in range(count)] == [*map(domain_of, names)]
        assert all(map(inbox_owner, names))
    elif all(len(key) > 8 and key[:6] == b"x.org!" and key.count(b".") == 2 for key in keys):
        assert any(b"\n" in key or b"@" in key for key in keys)


@given(st.lists(any_value, max_size=8))
def test_columns_are_what_the_parser_makes_of_each_value(values: list[bytes]) -> None:
    keys = [b"user.%d" % number for number in range(len(values))]
    found = columns.columns(keys, values)
    assert (found is None) == (len(columns.usual(values)) < len(values))
    if found is not None:
        assert found.roots() == [*map(value.quota_root, keys, values)]
    storage = columns.storage(values)
    if storage is not None:
        plain = [value.quota_root(*record) for record in zip(keys, values)]
        assert storage.usages() == [root and root.storage for root in plain]
        assert all(
            root and [usage.limit for _, usage in root.usages()][1:] == [None] * 3 for root in plain
        )


def plain(read: source.Source, query: Query, summary: Summary) -> Survey:
    """Read everything one by one."""
    users, unreadable = Counter[bool](), set[str]()
    roots = list(read.roots(evaluator.noting(unreadable, query.on_problem)))
    for root in roots:
        summary.add(root)
        users[inbox_owner(root.name) is not None] += 1
    if query.site is not None:
        users = Counter(map(is_delivered_to, query.site.inboxes()))
    verdicts = list(evaluator.evaluate_roots(roots, query, unreadable))
    return Survey(verdicts, len(roots), users[True])


def both(
    path: Path, policy: Policy, reserve: Reserve, site: Optional[Site] = None
) -> tuple[object, object]:
    """What a survey and reading one by one come to; the first is None where there is no survey."""
    read, found = source.from_database(path), list[object]()
    for way in (survey, plain):
        problems: list[CyrusQuotaError] = []
        query = Query(Naming(), policy, reserve, site, problems.append)
        summary = Summary(policy)
        try:
            made = way(read, query, summary)
        except CyrusQuotaError as error:
            found.append(str(error))
            continue
        if made is None:
            assert figures(summary) == figures(Summary(policy))
            return None, None
        verdicts = sorted(map(repr, made.verdicts))
        found.append(
            (verdicts, made.roots, made.users, figures(summary), sorted(map(str, problems)))
        )
    return found[0], found[1]


_rows = st.dictionaries(
    st.from_regex(rb"((x|y)\.org!)?user\.[a-c]{1,2}(\.sub)?", fullmatch=True)
    | st.sampled_from([b"user", b"x.org!", b"shared.x", b"user.\xff"]),
    any_value.filter(lambda data: b"\n" not in data and b"\0" not in data),
    min_size=1,
    max_size=12,
)


@given(
    rows=_rows,
    policy=policies,
    reserve=st.just(Reserve()) | reserves,
    processes=st.sampled_from([1, 1, 1, 2]),
)
def test_a_survey_comes_to_what_reading_one_by_one_does(
    rows: dict[bytes, bytes], policy: Policy, reserve: Reserve, processes: int
) -> None:
    with tempfile.TemporaryDirectory() as directory, small(processes):
        path = Path(directory) / "quotas.db"
        path.write_bytes(b"".join(b"%b\t%b\n" % row for row in sorted_rows(rows)))
        fast, slow = both(path, policy, reserve)
        assert fast == slow
        mailboxes = Path(directory) / "mailboxes.db"
        live = [b"%b\t0 default %b\tlrs\t\n" % (key, key[-1:]) for key, _ in sorted_rows(rows)]
        mailboxes.write_bytes(b"".join(live))
        fast, slow = both(path, policy, reserve, Site.from_mailboxes(mailboxes))
        assert fast == slow


def sorted_rows(rows: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """In the order of a flat file."""
    return sorted(rows.items(), key=lambda row: row[0].replace(b".", b"\2"))


_mailbox_keys = st.sampled_from(
    [
        b"user.jane",
        b"x.org!user.jane",
        b"Nuser\x1fjane",
        b"Nx.org\x1duser\x1fj.d",
        b"Ia",
        b"user.a.b",
    ]
)
#: As 3.4, 3.6 and 3.13 write them.
_mailbox_rows = st.sampled_from(
    [
        b"%(A %(jane lrs) I 6ed7d5a4-8c5b P default V 16 C 1 F 4 M 16)",
        b"%(T e I 0mzlbe297tpdegg P default V 17 C 3 F 6 M 17 A %(bob lrs cyrus lrs))",
        b"%(T el I cc1bacaa-2812 J NIL P p1 M 17 A %(rosa lrs))",
        b"%(I a P b A %())",
    ]
)


@given(
    st.lists(
        st.tuples(_mailbox_keys, _mailbox_rows | mutated(_mailbox_rows, b' ()%"{}\\!SATeldr')),
        min_size=1,
        max_size=5,
    )
)
@example([(b"user.jane", b"%(A %(jane) I a P b)")])
@example([(b"user.jane", b"%(A %(jane lrs joe) I a P b)")])
def test_inboxes_are_counted_as_each_row_says(rows: list[tuple[bytes, bytes]]) -> None:
    keys, values = zip(*rows)
    ((_, state),) = InboxCount(InboxKeys(["user.jane"]))(keys, values)
    _, count, kept = marshal.loads(state)
    assert count == sum(map(is_delivered_to, inboxes(rows)))
    assert kept == [row for row in rows if row[0] in (b"user.jane", b"Nuser\x1fjane")]


def test_there_is_a_survey_of_every_recorded_mailboxes_db() -> None:
    counts = []
    with small():
        for path in sorted(FIXTURES.rglob("mailboxes*.db")):
            site = Site.from_mailboxes(path)
            found = site.counted(["user.jane"])
            everyone = list(site.inboxes(lambda problem: None))
            if found is None:
                continue
            counts.append(found[0])
            assert found[0] == sum(map(is_delivered_to, everyone)), path
            jane = [inbox for inbox in everyone if inbox.name == "user.jane"]
            assert [inbox for inbox in found[1] if inbox.name == "user.jane"] == jane
    assert any(counts)


def test_a_small_database_is_not_surveyed(tmp_path: Path) -> None:
    path = tmp_path / "quotas.db"
    path.write_bytes(b"user.jane\t1 1\n")
    assert survey(source.from_database(path), Query(Naming(), LMTPD)) is None


def test_a_large_database_is_surveyed(tmp_path: Path) -> None:
    lines = [b"user.u%03d\t%%(S (%d 1) M (0) AS (0) NF (1))\n" % (n, 16 * n) for n in range(100)]
    path = tmp_path / "quotas.db"
    path.write_bytes(b"".join(lines))
    summary = Summary(keep=1)
    with small(2):
        found = survey(source.from_database(path), Query(Naming()), summary)
    assert found is not None
    assert (found.roots, found.users, len(found.verdicts)) == (100, 100, 35)
    assert (summary.over_roots, summary.near_roots) == (35, 7)
    assert summary.total().limits == 100 * 1024
    assert [full.root.name for full in summary.fullest()] == ["user.u099"]
