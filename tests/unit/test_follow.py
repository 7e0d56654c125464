"""The parts of following, one by one: what is said, the pace, names, the service manager."""

from __future__ import annotations

import errno
import os
import signal
import socket
from pathlib import Path
from typing import Optional

import pytest

from cyrusquota.cli.service import ServiceManager
from cyrusquota.cyrus.names import Naming, Recipient
from cyrusquota.errors import CyrusQuotaError, HeldBack, MapLocked, map_error
from cyrusquota.follow import FollowConfig, Follower, FollowState, MapEntries, Notices, Scan
from cyrusquota.follow.digest_set import DigestSet
from cyrusquota.follow.worker import Failed, ForkedWorker, Work
from cyrusquota.maps import Entry, entries, lsearch
from cyrusquota.maps.status import Status
from cyrusquota.maps.values import MapValues
from cyrusquota.publish.guard import Limits, MapSummary
from cyrusquota.publish.sliding_guard import WINDOW, SlidingGuard
from cyrusquota.site import source
from cyrusquota.site.site import Site
from cyrusquota.strategies.writers import WRITERS, Writer
from cyrusquota.verdicts.evaluator import Query
from tests.mailboxes import HEADER, Mailboxes

FULL, FINE = b"%(S (2048 1))", b"%(S (12 1))"


def test_names() -> None:
    names = DigestSet(f"user.{number}" for number in range(100))
    assert "user.7" in names and "user.100" not in names
    names.add("user.100")
    names.discard("user.7")
    assert "user.7" not in names and "user.100" in names
    assert "x" not in DigestSet()


def test_a_thing_is_said_once_and_again_when_it_changes() -> None:
    said: list[str] = []
    told: list[str] = []
    notices = Notices(said.append, told.append)
    for text in ("3 wrong", "4 wrong", "bad", "bad"):
        notices.wrong("map", text)
    assert said == ["3 wrong", "bad"]
    assert notices.first_wrong() == "bad"
    notices.right("map")
    notices.right("map")
    assert told == ["map: the problem is gone"]
    notices.wrong("map", "bad")
    assert said == ["3 wrong", "bad", "bad"]


def test_records_are_said_when_they_become_unreadable() -> None:
    said: list[str] = []
    notices = Notices(said.append, lambda line: None)
    notices.records(["a"])
    notices.records(["b", "a"])
    notices.records(["b"])
    assert said == ["a", "b"]
    notices.records([f"{number:03}" for number in range(30)])
    assert len(said) == 2 + 20 + 1


def told(content: bytes) -> MapSummary:
    return MapSummary(set(content.split()))


def keys(count: int) -> bytes:
    return b" ".join(b"%d" % number for number in range(count))


def test_many_small_changes_are_held_as_one_large_one_would_be() -> None:
    now = 0.0
    guard = SlidingGuard(told, Limits(), lambda: now)
    last = keys(10)
    for count in range(15, 31, 5):
        assert guard(last, keys(count)) is None
        last = keys(count)
        guard.accepted(last)
    reason = guard(last, keys(35))
    assert reason is not None
    assert "25 entries would be added to the 10 in place" in reason.reason
    # In time they are no longer many.
    for _ in range(3):
        now += WINDOW
        guard.accepted(last)
    assert guard(last, keys(35)) is None


def test_what_somebody_else_puts_in_place_is_accepted() -> None:
    guard = SlidingGuard(told, Limits())
    assert guard(keys(10), keys(30)) is None
    guard.accepted(keys(30))
    assert guard(keys(30), keys(50)) is not None
    assert guard(keys(50), keys(55)) is None


@pytest.mark.parametrize("is_abstract", [False, True])
def test_the_service_manager_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool
) -> None:
    address = f"@{tmp_path.name}-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{address[1:]}" if is_abstract else address)
        receiver.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "4000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        manager = ServiceManager()
        assert manager.watchdog == 4.0
        manager.send(READY=1, STATUS="fine")
        assert receiver.recv(100) == b"READY=1\nSTATUS=fine"
        manager.status("fine")
        manager.status("fine")
        manager.alive()
        manager.alive()
        assert [receiver.recv(100) for _ in range(2)] == [b"STATUS=fine", b"WATCHDOG=1"]
    manager.send(READY=1)


def test_without_a_service_manager_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    manager = ServiceManager()
    manager.send(READY=1)
    manager.alive()
    assert manager.watchdog is None
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert ServiceManager().watchdog is None


def _result(work: ForkedWorker) -> object:
    while True:
        found = work.result()
        if found is not None:
            return found
        os.sched_yield()


def _endless() -> Scan:
    while True:
        signal.pause()


def _killed() -> Scan:
    os.kill(os.getpid(), signal.SIGKILL)
    return _endless()


def _wrong() -> Scan:
    raise CyrusQuotaError("no good")


def _broken() -> Scan:
    raise RuntimeError("oh")


@pytest.mark.parametrize(
    ("work", "said"), [(_killed, "was killed"), (_wrong, "no good"), (_broken, "internal error")]
)
def test_work_that_fails_elsewhere(work: Work, said: str) -> None:
    result = _result(ForkedWorker(work))
    assert isinstance(result, Failed)
    assert said in result.reason


def test_work_that_is_ended() -> None:
    work = ForkedWorker(_endless)
    assert work.result() is None
    work.end()
    work.end()


class AtOnce:
    fd: Optional[int] = None

    def __init__(self, work: Work) -> None:
        try:
            self._result: object = work()
        except CyrusQuotaError as error:
            self._result = Failed(str(error))

    def result(self) -> object:
        return self._result

    def end(self) -> None:
        pass


class Scene:
    """A follower whose clock, scans and publishing are the test's."""

    def __init__(self, tmp_path: Path, site: Optional[Site] = None) -> None:
        self.writer: Writer = WRITERS["twoskip"](tmp_path / "quotas.db")
        self.now = 100.0
        self.said: list[str] = []
        self.told: list[str] = []
        self.published: list[tuple[float, set[bytes]]] = []
        self.error: Optional[Exception] = None
        self.follower = Follower(
            FollowConfig(
                source.from_database(self.writer.path),
                Query(Naming(), site=site),
                MapValues(lsearch),
            ),
            map_entries=lambda: MapEntries(self._entries, lsearch.row),
            publish=self._publish,
            notices=Notices(self.said.append, self.told.append),
            poll=0.4,
            clock=lambda: self.now,
            start=AtOnce,
        )

    def _entries(self, to: Recipient, status: Status) -> list[Entry]:
        return entries(((to, status),))

    def _publish(self, state: FollowState) -> None:
        if self.error is not None:
            raise self.error
        self.published.append((self.now, set(state.map_entries.keys())))

    def commit(self, **values: bytes) -> None:
        self.writer.begin()
        for user, value in values.items():
            self.writer.set(f"user.{user}".encode(), value)
        self.writer.commit()

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += max(0.01, self.follower.step())


@pytest.fixture
def mailboxes(tmp_path: Path) -> Mailboxes:
    """The INBOXes of jane and joe, and headers that name their own roots."""
    made = Mailboxes(tmp_path)
    for name in ("user.jane", "user.joe"):
        made.add(name, name)
    return made


def _name(mailboxes: Mailboxes, user: str, root: str) -> None:
    header = mailboxes.header(f"user.{user}")
    header.write_bytes(HEADER + b"%b\tid\n" % root.encode())


def test_a_user_who_becomes_full_is_listed_once_the_header_is_read(
    tmp_path: Path, mailboxes: Mailboxes
) -> None:
    scene = Scene(tmp_path, mailboxes.site())
    scene.commit(jane=FULL, joe=FINE)
    scene.run(1)
    scene.commit(joe=FULL)
    scene.run(1)
    assert scene.published[-1][1] == {b"jane", b"joe"}
    assert scene.follower.scans == 1


def test_a_user_whose_header_names_no_full_root_is_not_listed(
    tmp_path: Path, mailboxes: Mailboxes
) -> None:
    _name(mailboxes, "joe", "user.gone")
    scene = Scene(tmp_path, mailboxes.site())
    scene.commit(jane=FULL, joe=FINE)
    scene.run(1)
    scene.commit(joe=FULL)
    scene.run(30)
    assert [keys for _, keys in scene.published if b"joe" in keys] == []


def test_the_headers_of_listed_users_are_read_again_within_five_minutes(
    tmp_path: Path, mailboxes: Mailboxes
) -> None:
    scene = Scene(tmp_path, mailboxes.site())
    scene.commit(jane=FULL, joe=FULL)
    scene.run(1)
    _name(mailboxes, "joe", "user.gone")
    scene.run(200)
    assert scene.published[-1][1] == {b"jane", b"joe"}
    scene.run(100)
    assert scene.published[-1][1] == {b"jane"}
    _name(mailboxes, "joe", "user.joe")
    scene.run(300)
    assert scene.published[-1][1] == {b"jane", b"joe"}


def test_a_header_that_becomes_unreadable_leaves_its_user_listed_and_is_reported(
    tmp_path: Path, mailboxes: Mailboxes
) -> None:
    scene = Scene(tmp_path, mailboxes.site())
    scene.commit(jane=FULL, joe=FULL)
    scene.run(1)
    mailboxes.header("user.joe").write_bytes(b"x")
    scene.run(300)
    assert {frozenset(keys) for _, keys in scene.published} == {frozenset({b"jane", b"joe"})}
    assert len(scene.said) == 1 and "user/joe/cyrus.header" in scene.said[0]


def test_headers_of_users_with_room_cost_no_full_scan(tmp_path: Path, mailboxes: Mailboxes) -> None:
    _name(mailboxes, "joe", "user.gone")
    scene = Scene(tmp_path, mailboxes.site())
    scene.commit(jane=FULL, joe=FINE)
    scene.run(1000)
    assert scene.follower.scans == 1


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    made.commit(jane=FULL, joe=FINE)
    made.run(1)
    return made


def test_a_change_is_published_at_the_next_look(scene: Scene) -> None:
    assert [keys for _, keys in scene.published] == [{b"jane"}]
    scene.commit(joe=FULL)
    begun = scene.now
    scene.run(1)
    when, keys = scene.published[-1]
    assert keys == {b"jane", b"joe"}
    assert when - begun <= 0.5
    scene.commit(jane=FINE, joe=FINE)
    scene.run(1)
    assert scene.published[-1][1] == set()


def test_a_map_is_published_at_most_twice_a_second(scene: Scene) -> None:
    before = len(scene.published)
    for number in range(100):
        scene.commit(joe=FULL if number % 2 else FINE)
        scene.now += 0.1
        scene.follower.step()
    assert len(scene.published) - before <= 20


def test_a_map_is_renewed_while_nothing_changes(scene: Scene) -> None:
    scene.run(300)
    times = [when for when, _ in scene.published]
    assert 10 <= len(times) <= 12
    assert max(later - earlier for earlier, later in zip(times, times[1:])) < 60


def test_without_the_source_the_map_gets_old_and_it_is_said_once(scene: Scene) -> None:
    away = scene.writer.path.with_name("away")
    os.rename(scene.writer.path, away)
    scene.run(200)
    assert len(scene.said) == 1 and "no such file" in scene.said[0]
    before = len(scene.published)
    scene.run(200)
    assert len(scene.published) == before
    os.rename(away, scene.writer.path)
    scene.run(20)
    assert len(scene.published) == before + 1
    assert "source: the problem is gone" in scene.told
    assert len(scene.said) == 1


def test_a_damaged_source_is_said_once_and_read_again(scene: Scene) -> None:
    whole = scene.writer.path.read_bytes()
    scene.writer.path.write_bytes(b"\xff" * len(whole))
    scene.run(100)
    assert len(scene.said) == 1
    scene.writer.path.write_bytes(whole)
    scene.run(70)
    assert scene.follower.is_current
    assert len(scene.said) == 1


@pytest.mark.parametrize(
    "error",
    [
        map_error(OSError(errno.ENOSPC, "No space left on device"), "map"),
        HeldBack("too much", "see to it", 5),
        MapLocked("another run"),
    ],
)
def test_a_map_that_cannot_be_written_is_tried_again(scene: Scene, error: Exception) -> None:
    scene.error = error
    scene.commit(joe=FULL)
    scene.run(60)
    assert scene.said == [str(error)]
    scene.error = None
    scene.run(6)
    assert scene.published[-1][1] == {b"jane", b"joe"}
    assert "map: the problem is gone" in scene.told


def test_another_run_for_a_moment_is_nothing_to_say(scene: Scene) -> None:
    scene.error = MapLocked("another run")
    scene.commit(joe=FULL)
    scene.run(5)
    scene.error = None
    scene.run(5)
    assert scene.said == []


def test_a_full_reading_confirms_now_and_then(scene: Scene) -> None:
    before = len([line for line in scene.told if "quota roots read" in line])
    scene.run(3700)
    assert len([line for line in scene.told if "quota roots read" in line]) == before + 1


def test_another_question_is_answered_after_a_full_reading(scene: Scene, tmp_path: Path) -> None:
    other = WRITERS["twom"](tmp_path / "other.db")
    other.begin()
    other.set(b"user.mary", FULL)
    other.commit()
    scene.follower.replace_config(
        FollowConfig(source.from_database(other.path), Query(Naming()), MapValues(lsearch))
    )
    scene.run(2)
    assert scene.published[-1][1] == {b"mary"}
    scene.follower.close()
    assert not scene.follower.is_current
