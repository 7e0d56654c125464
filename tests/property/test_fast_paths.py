"""The fast paths give what the plain readers beside them give, or leave it to those."""

from __future__ import annotations

import contextlib
import io
import itertools
import tempfile
from functools import partial
from pathlib import Path
from typing import Callable, Iterable, Iterator, Optional
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cyrusquota import cyrusdb
from cyrusquota.cyrus.names import Naming
from cyrusquota.cyrusdb import database, flat, selection, sorted_run
from cyrusquota.cyrusdb.quotalegacy import scan as quotalegacy
from cyrusquota.cyrusdb.skiplist import scan as skiplist
from cyrusquota.cyrusdb.twom import scan as twom
from cyrusquota.cyrusdb.twoskip import scan as twoskip
from cyrusquota.errors import CyrusQuotaError, OnProblem
from cyrusquota.parse import dump, report, value
from cyrusquota.parse import prefilter as parse_prefilter
from cyrusquota.parse.prefilter import Prefilter
from cyrusquota.quota import QuotaRoot, Resource
from cyrusquota.site import source
from cyrusquota.site.source import Source
from cyrusquota.strategies import text as printed
from cyrusquota.strategies import values as values_and_usages
from cyrusquota.strategies._databases import MAKERS
from cyrusquota.strategies._roots import rows
from cyrusquota.strategies.text import LAYOUT_2_5, WORDS_2_5, WORDS_3_10
from cyrusquota.strategies.writers import Writer, close
from cyrusquota.strategies.writers.skiplist import SkiplistWriter
from cyrusquota.strategies.writers.twom import TwomWriter
from cyrusquota.strategies.writers.twoskip import TwoskipWriter
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts import selection as verdicts_selection
from cyrusquota.verdicts.evaluator import Query
from cyrusquota.verdicts.policies import LMTPD, POLICIES, Policy, Reserve

from ..damaged_databases import resealed
from ..recorded_fixtures import FIXTURES, unpacked
from .strategies import EDITS, anything, edited, mutated, nasty

Record = tuple[bytes, bytes]
Scan = Callable[..., Optional[cyrusdb.Selected]]
SCANS: dict[str, Scan] = {
    "flat": flat.select,
    "quotalegacy": quotalegacy.select,
    "skiplist": skiplist.select,
    "twom": twom.select,
    "twoskip": twoskip.select,
}
#: Of those that write whatever bytes they are given as keys.
ANY_KEY = ("flat", "skiplist", "twom", "twoskip")


@contextlib.contextmanager
def small(processes: int = 1) -> Iterator[None]:
    """Take few bytes and few records at a time, and no file for too small."""
    with contextlib.ExitStack() as stack:
        for module, name, number in (
            *(
                (sorted_run, "WORTH_IT", 0),
                (sorted_run, "_WORTH_SHARING", 0),
                # Several records, or nothing can be the usual way.
                (sorted_run, "SHARES", 1),
                (sorted_run, "_PIECE", 200),
                (database, "PAUSE", 0),
                (sorted_run, "BATCH", 3),
            ),
            *((flat, "_PIECE", 60), (quotalegacy, "BATCH", 3), (dump, "_PIECE", 50)),
            *(
                (report, "_PIECE", 300),
                (report, "_MANY_OTHERS", 700),
                (parse_prefilter, "_MANY", 5),
            ),
        ):
            stack.enter_context(mock.patch.object(module, name, number))
        for module in (sorted_run, flat, quotalegacy):
            stack.enter_context(mock.patch.object(module, "processors", lambda: processes))
        yield


# Values

_amounts = st.sampled_from([0, 1, 1023, 1024, 1 << 20, 1 << 40])
_shares = st.sampled_from([0, 0.1, 2, 2.5, 33.3, 100, 250])
reserves = st.builds(
    Reserve,
    st.dictionaries(st.sampled_from(Resource), _amounts),
    st.dictionaries(st.sampled_from(Resource), _shares),
)
policies = st.sampled_from(list(POLICIES.values()))


@st.composite
def near_the_limit(draw: st.DrawFn) -> bytes:
    """A value within a little of one of its limits, or leading zeros and all, not so near."""
    limit = draw(st.integers(0, 10**15 - 1) | st.integers(0, 2000))
    used = max(0, limit * draw(st.sampled_from([1, 1000, 1024])) + draw(st.integers(-3, 3)))
    zeros = draw(st.sampled_from(["", "0", "000"]))
    plain = (f"{used}"[:18], f"{zeros}{limit}"[:15])
    old, storage = f"{plain[0]} {plain[1]}", f"%(S ({plain[0]} {plain[1]}) M (1) AS (0) NF (2))"
    message = f"%(S (1) M ({plain[0]} {plain[1]}) AS (0) NF (2 3) MODSEQ 4)"
    return draw(st.sampled_from([old, storage, message, f"{plain[0]} -1"])).encode()


values = values_and_usages().map(lambda drawn: drawn[0])
any_value = near_the_limit() | values | mutated(values, b"0123456789 ()%-") | nasty


def matters(data: bytes, policy: Policy, reserve: Reserve) -> bool:
    """What the plain parser and the policy say: listed, or something to be said about it."""
    problems: list[CyrusQuotaError] = []
    root = value.quota_root(b"user.x", data, on_problem=problems.append)
    return bool(problems) or root is None or bool(policy.over(root) or reserve.near(root))


@given(
    data=st.lists(any_value, max_size=8),
    policy=policies,
    reserve=st.just(Reserve()) | reserves,
)
@example(data=[b"1 -0", b"1 -1"], policy=LMTPD, reserve=Reserve())
@example(data=[b"%(S (1025 001) M (1) AS (0) NF (1))"], policy=LMTPD, reserve=Reserve())
def test_a_prefilter_lets_nothing_through_that_matters(
    data: list[bytes], policy: Policy, reserve: Reserve
) -> None:
    with small():
        prefilter = verdicts_selection.prefilter(policy, reserve)
        wanted = prefilter([b"user.x"] * len(data), data)
        assert wanted == [index for index, one in enumerate(data) if prefilter.wants(one)]
        for index, one in enumerate(data):
            assert index in wanted or not matters(one, policy, reserve)


@given(data=near_the_limit(), policy=policies)
def test_a_sieve_without_a_share_wants_no_more_than_matters(data: bytes, policy: Policy) -> None:
    prefilter = verdicts_selection.prefilter(policy, Reserve())
    assert prefilter.wants(data) == matters(data, policy, Reserve())


# Databases


def predicate(keys: object, data: Iterable[bytes]) -> list[int]:
    """Wants about half of all values."""
    return [index for index, one in enumerate(data) if sum(one) % 2]


def every(keys: Iterable[bytes], data: Iterable[bytes]) -> Iterable[Record]:
    """Folds records to themselves."""
    return zip(keys, data)


def both(
    path: Path, backend: Optional[str] = None, judge: cyrusdb.Work = predicate
) -> tuple[object, object]:
    """What `select` and the plain reader make of a database, problems and errors included.

    That is, of `judge` and of all records.
    """
    fold = cyrusdb.Fold(every)
    return tuple(zip(_both(path, backend, judge), _both(path, backend, fold)))  # type: ignore[return-value]


def _both(path: Path, backend: Optional[str], judge: cyrusdb.Work) -> tuple[object, object]:

    def fast(on_problem: Callable[[CyrusQuotaError], None]) -> cyrusdb.Selected:
        return cyrusdb.select(path, judge, backend, on_problem=on_problem)

    def plain(on_problem: Callable[[CyrusQuotaError], None]) -> cyrusdb.Selected:
        with cyrusdb.open(path, backend, on_problem=on_problem) as db:
            return selection.selected(db, judge)

    def told(read: Callable[..., cyrusdb.Selected]) -> object:
        problems: list[CyrusQuotaError] = []
        try:
            found = read(problems.append)
        except CyrusQuotaError as error:
            return str(error), list(map(str, problems))
        return found.records, sorted(found.kept), sorted(map(str, problems))

    return told(fast), told(plain)


def roots_of(path: Path, backend: Optional[str] = None) -> tuple[object, object]:
    """What `read` and the plain parser make of a database, problems and errors included."""

    def plain(on_problem: OnProblem) -> Iterator[QuotaRoot]:
        with cyrusdb.open(path, backend, on_problem=on_problem) as db:
            yield from source.roots_in(db, on_problem)

    def told(read: Callable[[OnProblem], Iterator[QuotaRoot]]) -> object:
        problems: list[CyrusQuotaError] = []
        try:
            found = list(read(problems.append))
        except CyrusQuotaError as error:
            return str(error)
        return sorted(found, key=repr), sorted(map(str, problems))

    fast = source.from_database(path, backend)
    return told(fast.roots), told(plain)


def databases() -> list[Path]:
    found = [path for path in FIXTURES.rglob("*.db") if path.is_file()]
    trees = [path.parent for path in FIXTURES.rglob("quota") if path.is_dir()]
    assert len(found) > 20 and trees
    return sorted([*found, *trees])


@pytest.mark.parametrize("processes", [1, 2])
def test_every_recorded_database_is_selected_as_it_is_read(processes: int) -> None:
    with small(processes):
        for path in databases():
            for prefilter in (predicate, verdicts_selection.prefilter(LMTPD, Reserve())):
                fast, plain = both(path, judge=prefilter)
                assert fast == plain, path
            fast, plain = roots_of(path)
            assert fast == plain, path


#: The start of one another, and where byte and mailbox order differ.
KEYS = (
    *(b"user.a", b"user.a-b", b"user.a.b", b"user.ab", b"user.b", b"user.b\xff", b"x!user.a"),
    *(b"user." + b"long" * 70, b"\x01"),
)
_CASES = [
    pytest.param(backend, maker, id=f"{backend}-{number}")
    for backend in SCANS
    for number, maker in enumerate(MAKERS[backend])
]


@pytest.mark.parametrize(("backend", "maker"), _CASES)
@given(data=st.data())
def test_any_history_is_selected_as_it_is_read(
    backend: str, maker: Callable[[Path], Writer], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as directory, small(data.draw(st.sampled_from([1, 1, 2]))):
        writer = maker(Path(directory) / "quotas.db")
        try:
            for step in data.draw(st.lists(steps(backend), min_size=1, max_size=6)):
                step(writer)
                fast, plain = both(writer.path, backend)
                assert fast == plain
                fast, plain = roots_of(writer.path, backend)
                # The kind of a database is told by its first record, which is another one in the
                # order of the file. Keys of two kinds are not in one database of Cyrus.
                assert fast == plain or is_foreign(fast) != is_foreign(plain)
        finally:
            close(writer)


def is_foreign(found: object) -> bool:
    return isinstance(found, str) and "expected quota roots" in found


def steps(backend: str) -> st.SearchStrategy[Callable[[Writer], None]]:
    """A transaction, an aborted one or a repack, as something to do with a writer."""
    keys = st.sampled_from([key for key in KEYS if backend in ANY_KEY or len(key) < 200])
    if backend in ANY_KEY:
        keys |= st.binary(min_size=1, max_size=9)
    else:
        keys |= st.from_regex(rb"[a-z]{1,3}\.[a-z]{1,3}", fullmatch=True)
    changes = st.lists(st.tuples(keys, st.none() | values | st.binary(max_size=9)), max_size=9)
    # Some histories should have few deletions.
    puts = st.lists(st.tuples(keys, values), max_size=30)

    def transaction(made: list[tuple[bytes, Optional[bytes]]], commits: bool) -> object:
        def step(writer: Writer) -> None:
            writer.begin()
            for key, data in made:
                if data is None:
                    writer.delete(key)
                else:
                    writer.set(key, data)
            (writer.commit if commits else writer.abort)()

        return step

    repack: Callable[[Writer], None] = lambda writer: writer.repack()  # noqa: E731
    return st.one_of(
        st.builds(transaction, puts, st.just(True)),
        st.builds(transaction, changes, st.booleans()),
        st.just(repack),
    )


@pytest.mark.parametrize("layout", ["plain", "fulldirhash", "virtdomains"])
def test_the_recorded_trees_are_read_the_fast_way(layout: str, tmp_path: Path) -> None:
    lib = unpacked(layout, tmp_path)
    with small(2):
        assert quotalegacy.select(lib, predicate) is not None
        fast, plain = both(lib)
    assert fast == plain


#: The formats of a run and a log: the fast path and what writes them.
LOGGED: dict[str, tuple[Scan, Callable[[Path], Writer]]] = {
    "skiplist": (skiplist.select, SkiplistWriter),
    "twom": (twom.select, TwomWriter),
    "twoskip": (twoskip.select, partial(TwoskipWriter, fillers=True)),
}


def repacked(
    backend: str, directory: str, log: list[Record], records: int = 40
) -> tuple[Path, dict[bytes, bytes]]:
    """A file of a run of some records, and a log behind it, where b"" deletes."""
    writer = LOGGED[backend][1](Path(directory) / "quotas.db")
    # Mostly in the usual form, which has a faster way still.
    forms = (b"%d 1", *[b"%%(S (%d 1) M (1))"] * 7)
    state = {b"user.%03d" % number: forms[number % 8] % number for number in range(records)}
    writer.begin()
    for key, data in state.items():
        writer.set(key, data)
    writer.commit()
    writer.repack()
    for key, data in log:
        writer.begin()
        if data:
            writer.set(key, data)
            state[key] = data
        else:
            writer.delete(key)
            state.pop(key, None)
        writer.commit()
    return writer.path, state


#: The two orders agree about these, as they do about the names of users without subfolders.
_run_keys = st.integers(-9, 60).map(lambda number: b"user.%03d" % number) | st.from_regex(
    rb"(user|zz)\.[a-z]{1,3}", fullmatch=True
)


@pytest.mark.parametrize("backend", LOGGED)
@pytest.mark.parametrize("processes", [1, 3])
@given(log=st.lists(st.tuples(_run_keys, values | st.just(b"")), max_size=20))
def test_a_repacked_file_is_read_the_fast_way(
    processes: int, backend: str, log: list[Record]
) -> None:
    with tempfile.TemporaryDirectory() as directory, small(processes):
        path, state = repacked(backend, directory, log)
        found = LOGGED[backend][0](path, predicate)
        assert found is not None
        assert found.records == len(state)
        assert dict(found.kept) == {k: v for k, v in state.items() if predicate([k], [v])}


#: Numbers of users: what a purge deletes, in one direction or the other, and what comes back.
_purges = st.lists(
    st.one_of(
        st.permutations(range(12)),
        st.builds(lambda first, last: list(range(first, last)), *[st.integers(0, 45)] * 2),
        st.builds(lambda first, last: list(range(last, first, -1)), *[st.integers(0, 45)] * 2),
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize("backend", LOGGED)
@given(purges=_purges, others=st.lists(st.tuples(_run_keys, values), max_size=8), data=st.data())
def test_a_purge_is_read_the_fast_way_and_the_plain_way(
    backend: str, purges: list[list[int]], others: list[Record], data: st.DataObject
) -> None:
    log = [(b"user.%03d" % number, b"") for purge in purges for number in purge]
    for record in others:
        log.insert(data.draw(st.integers(0, len(log))), record)
    with tempfile.TemporaryDirectory() as directory, small(data.draw(st.sampled_from([1, 2]))):
        path, state = repacked(backend, directory, log)
        found = LOGGED[backend][0](path, lambda keys, _: list(range(len(keys))))
        assert found is not None
        assert (found.records, dict(found.kept)) == (len(state), state)
        with cyrusdb.open(path) as db:
            assert dict(db) == state


@given(
    log=st.lists(st.tuples(_run_keys, values | st.just(b"")), max_size=9),
    edits=EDITS.map(lambda edits: [(5 * at, put[:4]) for at, put in edits]),
    all_=st.booleans(),
)
def test_what_was_changed_under_right_checksums_is_read_alike(
    log: list[Record], edits: list[tuple[int, bytes]], all_: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory, small():
        path, _ = repacked("twoskip", directory, log, 8)
        content = path.read_bytes()
        path.write_bytes(resealed(edited(content, edits, 0 if all_ else 336), content))
        fast, plain = both(path, "twoskip")
        assert fast == plain


#: With a deletion, it has to be known where the records of a twoskip file start.
_LOGS = (
    [(b"user.007", b"9 9"), (b"user.1", b"8 9")],
    [(b"user.007", b"9 9"), (b"user.008", b""), (b"user.1", b"8 9")],
)


@pytest.mark.parametrize("backend", LOGGED)
@given(
    log=st.sampled_from(_LOGS),
    edits=EDITS.map(lambda edits: [(13 * at, put) for at, put in edits]),
    all_=st.booleans(),
)
def test_damage_is_left_to_the_plain_reader(
    backend: str, log: list[Record], edits: list[tuple[int, bytes]], all_: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory, small(2):
        path, _ = repacked(backend, directory, log)
        content = path.read_bytes()
        path.write_bytes(edited(content, edits, 0 if all_ else 64))
        with mock.patch.object(database, "PAUSE", 0):
            fast, plain = both(path, backend)
        assert fast == plain


@pytest.mark.parametrize("log", _LOGS)
@pytest.mark.parametrize("backend", ["twom", "twoskip"])
def test_no_changed_byte_changes_a_record_that_checksums_vouch_for(
    backend: str, log: list[Record]
) -> None:
    with tempfile.TemporaryDirectory() as directory, small():
        path, state = repacked(backend, directory, log, 12)
        content = path.read_bytes()
        everything = lambda keys, data: list(range(len(keys)))  # noqa: E731
        with cyrusdb.open(path) as db:
            committed = db.snapshot().size
        for at in range(committed):
            changed = bytearray(content)
            changed[at] ^= 0x41
            path.write_bytes(changed)
            found = LOGGED[backend][0](path, everything)
            if found is not None:
                # A checksum of nothing, which the plain reader leaves alone, too.
                with cyrusdb.open(path) as db:
                    assert dict(found.kept) == state == dict(db)


@pytest.mark.parametrize("piece", [100, 1 << 17])
def test_a_skiplist_with_a_changed_byte_is_read_alike(piece: int) -> None:
    """It has no checksums; what is right is only how its records look."""
    with tempfile.TemporaryDirectory() as directory, small():
        path, _ = repacked("skiplist", directory, [(b"user.007", b"9 9")], 5)
        content = path.read_bytes()
        with mock.patch.object(sorted_run, "_PIECE", piece):
            for at, change in itertools.product(range(len(content)), (0x01, 0x04, 0x29, 0xFF)):
                changed = bytearray(content)
                changed[at] ^= change
                path.write_bytes(changed)
                fast, plain = both(path, "skiplist", lambda keys, data: list(range(len(keys))))
                assert fast == plain


@pytest.mark.parametrize(("backend", "pointer"), [("twom", 368 + 8), ("twoskip", 336 + 8)])
def test_a_head_that_is_being_rewritten_is_read_again(backend: str, pointer: int) -> None:
    with tempfile.TemporaryDirectory() as directory, small():
        path, state = repacked(backend, directory, [])
        content = path.read_bytes()
        torn = bytearray(content)
        torn[pointer] ^= 1
        path.write_bytes(torn)
        with mock.patch("time.sleep", lambda _: path.write_bytes(content)):
            found = LOGGED[backend][0](path, predicate)
        assert found is not None
        assert found.records == len(state)


def test_a_skiplist_that_is_being_written_to_is_read_at_a_quiet_moment() -> None:
    with tempfile.TemporaryDirectory() as directory, small():
        path, state = repacked("skiplist", directory, [(b"user.007", b"9 9")])
        identities = iter([1, 2, 3, 3])
        with mock.patch.object(skiplist, "identity", lambda status: next(identities)):
            found = skiplist.select(path, predicate)
        assert found is not None
        assert found.records == len(state)
        assert next(identities, None) is None


# Text


def told(
    read: Callable[..., Iterable[object]], on_count: Callable[[], int]
) -> tuple[list[object], list[str], int]:
    """What is read, or the error that ends it; what is said meanwhile; and the count."""
    problems: list[CyrusQuotaError] = []
    found: list[object] = []
    try:
        found.extend(read(on_problem=problems.append))
    except CyrusQuotaError as error:
        problems.append(error)
        return [], list(map(str, problems)), 0
    return found, list(map(str, problems)), len(found) + on_count()


_lines = st.lists(
    st.tuples(st.binary(min_size=1, max_size=12), any_value).map(b"\t".join), max_size=12
).map(lambda found: b"".join(line.replace(b"\n", b"") + b"\n" for line in found))


@given(text=_lines | mutated(_lines, b"\t\n\xff\x89x") | anything)
def test_a_dump_is_sifted_as_it_is_read(text: bytes) -> None:
    prefilter, others = verdicts_selection.prefilter(LMTPD, Reserve()), list[int]()
    with small():
        fast = told(
            lambda on_problem: dump.selected(
                io.BytesIO(text), prefilter, others.append, on_problem=on_problem
            ),
            lambda: sum(others),
        )
    plain = told(
        lambda on_problem: dump.records(io.BytesIO(text), on_problem=on_problem), lambda: 0
    )
    assert fast[1:] == plain[1:]
    assert [one for one in fast[0] if prefilter.wants(one[1])] == [  # type: ignore[index]
        one
        for one in plain[0]
        if prefilter.wants(one[1])  # type: ignore[index]
    ]


_noise = st.lists(
    st.sampled_from([b"user.a: removed\n", b"rubbish\n", b" 5 STORAGE x\n", b" 1 MESSAGE x\n"]),
    max_size=1,
).map(b"".join)


@st.composite
def reports(draw: st.DrawFn) -> bytes:
    """A report with rows that are none among those that are."""
    words = draw(st.sampled_from([WORDS_2_5, WORDS_3_10]))
    text = b""
    for one in draw(st.lists(rows.filter(bool), max_size=6)):
        if draw(st.integers(0, 9)) == 0:
            one.append((b"(null)", one[0][1]))
        text += printed.report(one, words).split(b"\n", 1)[1]
        text += draw(_noise) if draw(st.integers(0, 5)) == 0 else b""
    return LAYOUT_2_5.header + text


@given(
    text=reports() | mutated(reports(), b" 019\nAS") | anything,
    policy=policies,
    reserve=st.just(Reserve()) | reserves,
)
def test_a_report_is_sifted_as_it_is_read(text: bytes, policy: Policy, reserve: Reserve) -> None:
    prefilter, others = verdicts_selection.prefilter(policy, reserve), list[int]()
    with small():
        fast = told(
            lambda on_problem: report.selected(
                io.BytesIO(text), prefilter, others.append, on_problem=on_problem
            ),
            lambda: sum(others),
        )
    plain = told(
        lambda on_problem: report.roots(io.BytesIO(text), on_problem=on_problem), lambda: 0
    )
    assert fast[1:] == plain[1:]
    assert listed(fast[0], policy, reserve) == listed(plain[0], policy, reserve)


def listed(found: list[object], policy: Policy, reserve: Reserve) -> list[QuotaRoot]:
    roots = [root for root in found if isinstance(root, QuotaRoot)]
    return [root for root in roots if policy.over(root) or reserve.near(root)]


# All the way to the verdicts


def sources() -> Iterator[tuple[Path, Callable[[], Source]]]:
    for path in databases():
        yield path, lambda path=path: source.from_database(path)  # type: ignore[misc]
    for path in FIXTURES.rglob("quota.txt"):
        yield path, lambda path=path: source.from_report(io.BytesIO(path.read_bytes()))  # type: ignore[misc]
    for path in FIXTURES.rglob("cyr_dbtool-show.txt"):
        yield path, lambda path=path: source.from_dump(io.BytesIO(path.read_bytes()))  # type: ignore[misc]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=list(POLICIES))
@pytest.mark.parametrize("reserve", [Reserve(), Reserve({Resource.STORAGE: 1 << 20})])
def test_every_recorded_source_comes_to_the_same_verdicts(policy: Policy, reserve: Reserve) -> None:
    def verdicts(read: Source, prefilter: Optional[Prefilter]) -> object:
        problems: list[CyrusQuotaError] = []
        try:
            counted = read.counted(prefilter, problems.append)
            found = evaluator.evaluate_roots(
                counted, Query(Naming(), policy, reserve=reserve, on_problem=problems.append)
            )
            return sorted(map(str, found)), counted.count, sorted(map(str, problems))
        except CyrusQuotaError as error:
            return str(error), sorted(map(str, problems))

    with small():
        for path, opened in sources():
            prefilter = verdicts_selection.prefilter(policy, reserve)
            assert verdicts(opened(), prefilter) == verdicts(opened(), None), path
