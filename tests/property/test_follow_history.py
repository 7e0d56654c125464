"""Whatever becomes of a database, following it comes to what a fresh reading of it does."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Optional

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cyrusquota.cyrus.names import Naming, Recipient
from cyrusquota.cyrusdb.quotalegacy import inotify
from cyrusquota.follow import FollowConfig, Follower, FollowState, MapEntries, Notices
from cyrusquota.follow.worker import Failed, Work
from cyrusquota.maps import Entry, KeyForm, cdb, entries, lsearch, postfix
from cyrusquota.maps.status import OVER, Status
from cyrusquota.maps.values import MapValues
from cyrusquota.quota import Resource
from cyrusquota.site import source
from cyrusquota.site.site import Site
from cyrusquota.strategies.writers import WRITERS, Writer, close
from cyrusquota.verdicts import evaluator
from cyrusquota.verdicts.evaluator import Query
from cyrusquota.verdicts.policies import LMTPD, Reserve
from tests.mailboxes import HEADER, Mailboxes

_QUOTAS = (
    *(b"user.a", b"user.b", b"user.c", b"user.c.sub", b"user.d", b"user", b"shared"),
    *(b"example.org!user.a", b"example.org!", b"user.Caps", b"user.Caps.x", b"user.caps"),
)
_VALUES = (
    *(b"%(S (2048 1) M (0) AS (0) NF (0) MODSEQ 5)", b"%(S (512 1) M (0) AS (0) NF (0))"),
    *(b"%(S (1023 1) M (0) AS (0) NF (0))", b"2048 1", b"%(S (9))", b"%(S (2048", b"x"),
)
_MAILBOXES = (
    *(b"user.a", b"user.b", b"user.b.x", b"user.d", b"Nuser\x1fc", b"Nexample.org\x1duser\x1fa"),
    *(b"user.Caps", b"shared", b"user.e"),
)
_ROWS = (b"0 default a\t", b"1 default a\t", b"%(A %() P default T e)", b"%(A %() P default T d)")
_INBOXES = ("user.a", "user.b", "user.c", "user.d", "user.e", "example.org!user.a")
#: What a header may name; no header at all, and one that cannot be read, come besides.
_NAMED = (*_INBOXES, "user", "example.org!", "shared", "user.c.sub", "user.gone", "")
#: Only these keep keys in one file, so that one may be replaced by the other.
_FILES = ("skiplist", "twom", "twoskip")


class _AtOnce:
    """Work that is done when it is started."""

    fd: Optional[int] = None

    def __init__(self, work: Work) -> None:
        try:
            self._result: object = work()
        except Exception as error:
            self._result = Failed(repr(error))

    def result(self) -> object:
        return self._result

    def end(self) -> None:
        pass


class _Following(RuleBasedStateMachine):
    backend: str
    mailboxes_backend: str
    naming = Naming()
    with_mailboxes = True
    with_headers = False
    map_values = MapValues(lsearch, reserve=Reserve({Resource.STORAGE: 512}))
    form = KeyForm.AUTO

    def __init__(self) -> None:
        super().__init__()
        self._directory = Path(tempfile.mkdtemp(prefix="cq"))
        self.quotas = self._new(self.backend, "quotas")
        self.mailboxes = self._new(self.mailboxes_backend, "mailboxes.db")
        for writer, key, value in (
            (self.quotas, b"user.a", _VALUES[0]),
            (self.mailboxes, b"user.a", _ROWS[0]),
        ):
            writer.begin()
            writer.set(key, value)
            writer.commit()
        self.keys: dict[int, set[bytes]] = {id(self.quotas): {b"user.a"}}
        self.keys[id(self.mailboxes)] = {b"user.a"}
        self.now = 1000.0
        self.published: Optional[FollowState] = None
        self.said: list[str] = []
        server = Site.from_mailboxes(self.mailboxes.path) if self.with_mailboxes else None
        self.headers = Mailboxes(self._directory)
        if self.with_headers:
            for name in _INBOXES[:3]:
                self.name_in_header(name, name)
            server = self.headers.site()
        quotas = source.from_database(self.quotas.path, self.backend, self.naming)
        self.question = FollowConfig(
            quotas,
            Query(quotas.naming, LMTPD, self.map_values.effective_reserve, server),
            self.map_values,
        )
        self.scans = 0
        self.follower = Follower(
            self.question,
            map_entries=self._listing,
            publish=self._publish,
            notices=Notices(self.said.append, lambda line: None),
            poll=0.4,
            clock=lambda: self.now,
            start=self._start,
            headers=90.0,
        )

    def _listing(self) -> MapEntries:
        return MapEntries(self._entries, self.map_values.format.row)

    def _entries(self, to: Recipient, status: Status) -> list[Entry]:
        return entries(((to, self.map_values.of(status)),), form=self.form)

    def _new(self, backend: str, name: str) -> Writer:
        return WRITERS[backend](self._directory / name)

    def _start(self, work: Work) -> _AtOnce:
        self.scans += 1
        return _AtOnce(work)

    def _publish(self, state: FollowState) -> None:
        self.published = state

    def _writer(self, of_mailboxes: bool) -> Writer:
        return self.mailboxes if of_mailboxes else self.quotas

    @rule(of_mailboxes=st.booleans(), data=st.data(), ends=st.sampled_from("cccca"))
    def change(self, of_mailboxes: bool, data: st.DataObject, ends: str) -> None:
        writer = self._writer(of_mailboxes)
        keys = st.sampled_from(_MAILBOXES if of_mailboxes else _QUOTAS)
        values = st.sampled_from(_ROWS if of_mailboxes else _VALUES)
        changes = data.draw(st.lists(st.tuples(keys, st.none() | values), max_size=4))
        there = set(self.keys[id(writer)])
        writer.begin()
        for key, value in changes:
            if value is not None:
                writer.set(key, value)
                there.add(key)
            elif key in there:
                writer.delete(key)
                there.discard(key)
        if ends == "a":
            writer.abort()
            # Readers of some formats wait for the end of a transaction.
            if not (self.backend == "sql" and writer is self.quotas):
                return
            writer.begin()
            writer.commit()
            return
        writer.commit()
        self.keys[id(writer)] = there

    @rule(of_mailboxes=st.booleans())
    def repack(self, of_mailboxes: bool) -> None:
        self._writer(of_mailboxes).repack()

    @precondition(lambda self: self.with_headers)
    @rule(inbox=st.sampled_from(_INBOXES), named=st.sampled_from(_NAMED))
    def name_in_header(self, inbox: str, named: str) -> None:
        """Write a header, as SETQUOTA and `quota -f` do; not every INBOX has a row."""
        path = self.headers.header(inbox)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(HEADER + b"%b\tid\n" % named.encode())

    @precondition(lambda self: self.with_headers)
    @rule(inbox=st.sampled_from(_INBOXES), content=st.sampled_from([None, b"", b"x" * 99]))
    def lose_header(self, inbox: str, content: Optional[bytes]) -> None:
        path = self.headers.header(inbox)
        path.unlink(missing_ok=True)
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    @rule()
    def look(self) -> None:
        self.now += 0.5
        self.follower.step()

    @rule()
    def replace(self) -> None:
        """Another file with the same records, as after a restore."""
        path = self.quotas.path
        # Who has a SQLite file open would go on with the old one.
        if path.is_file() and self.backend != "sql":
            copy = path.with_name("copy")
            shutil.copyfile(path, copy)
            os.replace(copy, path)

    @invariant()
    def is_right(self) -> None:
        for _ in range(6):
            self.now += 3.0
            self.follower.step()
        self.now += 100.0
        # Two more: headers are read, what they name is found by a full scan, and published.
        for _ in range(3):
            self.now += 3.0
            self.follower.step()
        state = self.published
        fresh = self._fresh()
        if fresh is None:
            assert not self.follower.is_current
            return
        assert self.follower.is_current, self.said
        assert state is not None
        content, near, roots = fresh
        written = self.map_values.format
        assert state.map_entries.keys() == written.keys(content)
        assert state.map_entries.body() == written.body(content)
        assert written.document(state.map_entries.entries(), ()) == content
        assert state.map_entries.near == near
        # A tree does not tell how many files came and went.
        assert roots is None or state.roots == roots or self.backend == "quotalegacy"

    def _fresh(self) -> Optional[tuple[bytes, int, Optional[int]]]:
        question, problems, unreadable = self.question, list[Exception](), set[str]()
        try:
            roots = list(question.source.roots(evaluator.noting(unreadable, problems.append)))
        except Exception:
            return None
        if not roots and problems:
            return None
        verdicts = list(
            evaluator.evaluate_roots(
                roots,
                attrs.evolve(question.query, on_problem=problems.append),
                unreadable,
            )
        )
        statuses = list(self.map_values.statuses(verdicts))
        values = ((to, self.map_values.of(status)) for to, status in statuses)
        found = entries(values, form=self.form)
        near = sum(status != OVER for _, status in statuses)
        content = self.map_values.format.document(found, ())
        return content, near, None if problems else len(roots)

    def teardown(self) -> None:
        self.follower.close()
        close(self.quotas)
        close(self.mailboxes)
        shutil.rmtree(self._directory)


def _run(**options: object) -> None:
    machine = type("Following", (_Following,), options)
    quiet = (HealthCheck.too_slow, HealthCheck.filter_too_much)
    run_state_machine_as_test(
        machine,
        settings=settings(deadline=None, suppress_health_check=quiet, stateful_step_count=20),
    )


@pytest.mark.parametrize("backend", sorted(WRITERS))
def test_following_comes_to_what_a_fresh_reading_does(backend: str) -> None:
    other = backend if backend in _FILES else "twoskip"
    _run(backend=backend, mailboxes_backend=other)


@pytest.mark.parametrize("backend", _FILES)
def test_so_it_does_without_a_list_of_mailboxes(backend: str) -> None:
    _run(backend=backend, mailboxes_backend="twoskip", with_mailboxes=False)


@pytest.mark.parametrize(
    "map_values",
    [
        MapValues(lsearch, refuse=True, headroom=1000),
        MapValues(cdb, reserve=Reserve({Resource.STORAGE: 2}), headroom=600),
        MapValues(postfix, message="No room"),
    ],
    ids=["refuse and headroom", "cdb", "postfix"],
)
def test_so_it_does_whatever_the_map_tells(map_values: MapValues) -> None:
    """Keyed by local parts, two users of different domains are one in it."""
    _run(backend="twoskip", mailboxes_backend="twoskip", map_values=map_values, form=KeyForm.LOCAL)


@pytest.mark.parametrize("backend", ["twoskip", "quotalegacy", "flat"])
def test_so_it_does_where_headers_count(backend: str) -> None:
    _run(backend=backend, mailboxes_backend="twoskip", with_headers=True)


def test_so_it_does_where_capitals_count() -> None:
    _run(backend="twoskip", mailboxes_backend="twoskip", naming=Naming(downcase=False))


def test_so_it_does_by_the_times_of_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inotify, "opened", lambda: None)
    _run(backend="quotalegacy", mailboxes_backend="twoskip")
