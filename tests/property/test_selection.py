"""Reading only what it takes comes to the same verdicts as reading everything."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Callable, Iterator, Optional
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cyrusquota.cyrus.names import Naming
from cyrusquota.cyrusdb import sorted_run
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.quota import QuotaRoot, Resource
from cyrusquota.site import source
from cyrusquota.site.mailboxes import InboxKeys, inboxes
from cyrusquota.site.site import Site
from cyrusquota.site.source import Counted, Source
from cyrusquota.strategies.writers.twoskip import TwoskipWriter
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Query
from cyrusquota.verdicts.policies import LMTPD, LMTPD_STRICT, SMMAPD, Policy, Reserve
from cyrusquota.verdicts.selection import Evaluation, evaluate

USERS = ("a", "b", "c^d", "Jane", "jane", "x!y", "m\udcfcller")
DOMAINS = ("", "example.org!", "b.example!")
OTHERS = ("user", "example.org!", "example.org!user", "user.a.b", "shared", "DELETED.user.a.1")
FULL, ROOM = b"%(S (2049 2) M (1) AS (0) NF (1))", b"%(S (2000 2) M (1) AS (0) NF (1))"
VALUES = (FULL, ROOM, b"%(S (2000 2))", b"1 -1", b"3000 2", b"%(S (")
PICK = st.sampled_from


def _names() -> st.SearchStrategy[str]:
    users = st.tuples(PICK(DOMAINS), PICK(USERS)).map(lambda two: f"{two[0]}user.{two[1]}")
    return users | PICK(OTHERS)


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _old_row(name: str) -> tuple[bytes, bytes]:
    return _raw(name), b"%(I abc P default T e V 1)"


def _modern_row(name: str) -> tuple[bytes, bytes]:
    domain, bang, rest = name.rpartition("!user.")
    key = f"N{domain}\x1duser\x1f{rest}" if bang else f"N{name}".replace(".", "\x1f", 1)
    return _raw(key.replace("^", ".")), b"%(I abc P default T e V 1)"


_rows = st.lists(
    st.tuples(_names(), PICK([_old_row, _modern_row])).map(lambda two: two[1](two[0])), max_size=12
)
_roots = st.dictionaries(_names().map(_raw), PICK(VALUES), max_size=12)


def _written(path: Path, records: dict[bytes, bytes]) -> Path:
    writer = TwoskipWriter(path)
    writer.begin()
    for key, value in records.items():
        writer.set(key, value)
    writer.commit()
    writer.repack()
    return path


def _told(read: Callable[[Callable[[CyrusQuotaError], None]], Evaluation]) -> object:
    problems: list[str] = []
    found = read(lambda problem: problems.append(str(problem)))
    return sorted(map(str, found.verdicts)), found.roots, sorted(problems)


def _everything(quotas: Source, policy: Policy, reserve: Reserve, known: Optional[Site]) -> object:
    def read(on_problem: Callable[[CyrusQuotaError], None]) -> Evaluation:
        counted = quotas.counted(None, on_problem)
        naming = quotas.naming
        verdicts = evaluator.evaluate_roots(
            counted, Query(naming, policy, reserve=reserve, site=known, on_problem=on_problem)
        )
        return Evaluation(list(verdicts), counted.count)

    return _told(read)


@pytest.mark.parametrize("has_mailboxes", [False, True])
@given(
    roots=_roots,
    rows=_rows,
    naming=st.builds(Naming, virtdomains=PICK([None, False, True]), downcase=st.booleans()),
    policy=PICK([LMTPD, LMTPD_STRICT, SMMAPD]),
    reserve=PICK([Reserve(), Reserve(percents=dict.fromkeys(Resource, 5))]),
)
@example(
    roots={b"user.c^d": FULL, b"b.example!user.x!y": FULL, b"user.x!y": b"3000 2"},
    rows=[_modern_row("user.c^d"), _modern_row("user.x!y"), _modern_row("b.example!user.x!y")],
    naming=Naming(),
    policy=LMTPD,
    reserve=Reserve(),
)
def test_little_reading_tells_the_same(
    has_mailboxes: bool,
    roots: dict[bytes, bytes],
    rows: list[tuple[bytes, bytes]],
    naming: Naming,
    policy: Policy,
    reserve: Reserve,
) -> None:
    with tempfile.TemporaryDirectory() as directory, _small():
        quotas = source.from_database(_written(Path(directory, "quotas.db"), roots), naming=naming)
        mailboxes = _written(Path(directory, "mailboxes.db"), dict(rows))
        known = Site.from_mailboxes(mailboxes) if has_mailboxes else None
        few = _told(lambda said: evaluate(quotas, Query(naming, policy, reserve, known, said)))
        assert few == _everything(quotas, policy, reserve, known)


@contextlib.contextmanager
def _small() -> Iterator[None]:
    """No file is too small for the fast path."""
    with (
        mock.patch.object(sorted_run, "WORTH_IT", 0),
        mock.patch.object(sorted_run, "_WORTH_SHARING", 1 << 30),
    ):
        yield


#: Beside 50 users with room: a full user, and a root of others that is not full.
FEW = (
    {b"user.a": FULL},
    {b"example.org!user.a": FULL},
    {b"user.a": FULL, b"user": ROOM, b"example.org!": ROOM, b"user.a.b": FULL, b"shared": FULL},
)
MANY = ({b"user": FULL}, {b"example.org!": FULL}, {b"example.org!user": FULL})


@pytest.mark.parametrize("others", [*FEW, *MANY])
@pytest.mark.parametrize("downcase", [True, False])
def test_roots_with_room_are_read_only_where_they_can_matter(
    others: dict[bytes, bytes], downcase: bool, tmp_path: Path
) -> None:
    roots = {**{b"user.u%03d" % number: ROOM for number in range(50)}, **others}
    path = _written(tmp_path / "quotas.db", roots)
    quotas = source.from_database(path, naming=Naming(downcase=downcase))
    rows = dict(map(_old_row, ("user.a", "example.org!user.a", "user.u001")))
    known = Site.from_mailboxes(_written(tmp_path / "mailboxes.db", rows))
    readings: list[list[str]] = []

    def progress(counted: Counted) -> Iterator[QuotaRoot]:
        readings.append([])
        for root in counted:
            readings[-1].append(root.name)
            yield root

    with _small():
        query = Query(quotas.naming, site=known, on_problem=lambda problem: None)
        found = evaluate(quotas, query, progress)
    full = sorted(name.decode() for name, value in others.items() if value == FULL)
    everything = sorted(map(bytes.decode, roots))
    assert found.roots == len(roots)
    if not downcase:
        # jane and Jane are two then, and no map tells them apart.
        assert list(map(sorted, readings)) == [everything]
    elif others in FEW:
        assert list(map(sorted, readings)) == [full]
        assert len(found.verdicts) == 1
    else:
        assert list(map(sorted, readings)) == [full, everything]


def test_a_root_of_others_that_is_near_its_limit_counts_for_them(tmp_path: Path) -> None:
    quotas = source.from_database(
        _written(tmp_path / "quotas.db", {b"user": ROOM, b"user.a": ROOM})
    )
    rows = dict(map(_old_row, ("user.a", "user.b")))
    known = Site.from_mailboxes(_written(tmp_path / "mailboxes.db", rows))
    reserve = Reserve({Resource.STORAGE: 49})
    with _small():
        found = evaluate(quotas, Query(quotas.naming, SMMAPD, reserve, known))
        assert {str(one.recipient): one.root.name for one in found.verdicts} == {
            "a": "user.a",
            "b": "user",
        }
        query = Query(quotas.naming, SMMAPD, Reserve({Resource.STORAGE: 48}), known)
        assert evaluate(quotas, query).verdicts == []


def test_a_stream_is_read_once(tmp_path: Path) -> None:
    """So there is no looking for full roots first and for those that they govern afterwards."""
    text = b"user\t%b\n" % FULL
    text += b"".join(b"user.%d\t%b\n" % (number, FULL) for number in range(9))
    rows = dict(map(_old_row, ("user.3", "user.b")))
    known = Site.from_mailboxes(_written(tmp_path / "mailboxes.db", rows))
    query = Query(Naming(), SMMAPD, site=known)
    found = evaluate(source.from_dump(io.BytesIO(text)), query)
    assert found.roots == 10
    assert sorted(str(verdict.recipient) for verdict in found.verdicts) == ["3", "b"]


_key_bytes = st.text("aNu!.^\x1d\x1f-", max_size=6).map(str.encode)


@given(keys=st.lists(st.tuples(_key_bytes, _key_bytes), min_size=1, max_size=9))
def test_whatever_key_an_inbox_has_is_found_by_its_name(keys: list[tuple[bytes, bytes]]) -> None:
    made = [
        key
        for before, behind in keys
        for key in (
            *(before + b"!user." + behind, b"user." + behind, b"Nuser\x1f" + behind),
            *(b"N" + before + b"\x1duser\x1f" + behind, b"Nuser." + before + b"\x1d" + behind),
        )
    ]
    for key in made:
        for inbox in inboxes([(key, b"")]):
            assert InboxKeys([inbox.name])([b"other", key]) == [1]
