"""cyrusquota-export --follow: stay running until told to stop."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import time
from types import FrameType
from typing import Iterable, Optional

import attrs

from cyrusquota import maps, publish
from cyrusquota.cli._map import comments, put, summarizer
from cyrusquota.cli._notify import Manager
from cyrusquota.cli._run import complain
from cyrusquota.cli._source import Chosen
from cyrusquota.cyrus.names import Recipient
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.follow import FollowConfig, Follower, MapEntries, Notices, State
from cyrusquota.maps import Entry, Format, KeyForm
from cyrusquota.maps.values import MapValues
from cyrusquota.publish import Ownership, target_directory
from cyrusquota.publish.guard import Limits, MapSummary
from cyrusquota.publish.privileges import reading_as
from cyrusquota.publish.sliding_guard import SlidingGuard


@attrs.frozen
class Place:
    """Where the map is to be, and whose."""

    output: str
    ownership: Ownership
    wait: float
    follow_links: bool


@attrs.frozen
class Export:
    """What the options of `cyrusquota-export --follow` come to."""

    chosen: Chosen
    exempt: tuple[str, ...]
    form: KeyForm
    map_values: MapValues
    place: Place
    limits: Limits

    def run(self, poll: float, verbose: bool) -> None:
        """Until SIGTERM or SIGINT; SIGHUP reads imapd.conf anew."""
        gc.enable()
        # What can never be right should not wait for a service manager to find out.
        with target_directory.opened(self.place.output, follow_links=self.place.follow_links):
            pass
        notices = Notices(
            complain, complain if verbose else _nothing, with_records=not self.chosen.problems.quiet
        )
        publisher = _Publisher(self, self.chosen)
        follower = Follower(
            _config(self.chosen, self.map_values),
            map_entries=self._listing,
            publish=publisher.publish,
            notices=notices,
            poll=poll,
            rights=lambda: reading_as(self.chosen.user),
        )
        with _Signals() as signals, contextlib.closing(follower):
            _Service(follower, publisher, notices, signals).run()

    def _listing(self) -> MapEntries:
        return MapEntries(self._entries, self.map_values.format.row)

    def _entries(self, to: Recipient, value: bytes) -> Iterable[Entry]:
        return maps.entries(((to, value),), form=self.form, exempt=self.exempt)


def _nothing(line: str) -> None:
    pass


def _config(chosen: Chosen, map_values: MapValues) -> FollowConfig:
    return FollowConfig(chosen.source, chosen.query(map_values.wanted), map_values)


@attrs.define
class _Publisher:
    """Puts what is listed in place."""

    export: Export
    chosen: Chosen
    summary: str = "reading the source"
    _guard: Optional[SlidingGuard] = None
    _contents: _Contents = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._contents = _Contents(self.export.map_values.format)

    def publish(self, state: State) -> None:
        """Raises `MapError` or one of its kinds where that cannot be done."""
        place, map_entries, contents = self.export.place, state.map_entries, self._contents
        written = self.export.map_values.format
        texts = comments(self.chosen, state.roots, len(map_entries), map_entries.near)
        begin, body = written.document((), texts), map_entries.body()
        content = (
            begin + body if written.IS_TEXT else written.document(map_entries.entries(), texts)
        )
        contents.know(content, body, MapSummary.by(written.header(begin), map_entries.keys()))
        with publish.claim(place.output, wait=place.wait, follow_links=place.follow_links) as claim:
            guard = self._guard
            if guard is None or not claim.in_place():
                # Who removes the map accepts whatever comes.
                guard = self._guard = SlidingGuard(contents.summarize, self.export.limits)
            outcome = put(
                claim, content, place.ownership, guard, place.output, written, contents.body
            )
        if outcome is publish.Outcome.WRITTEN:
            contents.in_place(content)
            guard.accepted(content)
        self.summary = f"{state.roots} quota roots, {len(map_entries)} entries"


@attrs.frozen
class _Known:
    content: bytes
    body: bytes
    summarize: MapSummary


class _Contents:
    """What is known of the map in place and of the one to be, so that no line is parsed twice."""

    def __init__(self, written: Format) -> None:
        self._format = written
        self._old: Optional[_Known] = None
        self._new: Optional[_Known] = None

    def know(self, content: bytes, body: bytes, summarize: MapSummary) -> None:
        """This is going to be the map."""
        self._new = _Known(content, body, summarize)

    def in_place(self, content: bytes) -> None:
        """This is the map now."""
        self._old = self._of(content)

    def summarize(self, content: bytes) -> MapSummary:
        return self._of(content).summarize

    def body(self, content: bytes) -> bytes:
        return self._of(content).body

    def _of(self, content: bytes) -> _Known:
        for known in (self._new, self._old):
            if known is not None and known.content == content:
                return known
        self._old = _Known(content, self._format.body(content), summarizer(self._format)(content))
        return self._old


class _Signals:
    """Signals as something that can be waited for."""

    def __init__(self) -> None:
        self.stop = self.reload = False

    def __enter__(self) -> _Signals:
        self._read_end, write_end = os.pipe()
        for end in (self._read_end, write_end):
            os.set_blocking(end, False)
        self._write_end = write_end
        self._wakeup = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self._handlers = {number: signal.signal(number, self._noted) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read_end)
        os.close(self._write_end)

    def _noted(self, number: int, frame: Optional[FrameType]) -> None:
        if number == signal.SIGHUP:
            self.reload = True
        else:
            self.stop = True

    def wait(self, seconds: float, fds: list[int]) -> None:
        """Until a signal comes, something can be read, or the time is over."""
        ready, _, _ = select.select([self._read_end, *fds], [], [], seconds)
        if self._read_end in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._read_end, 4096)


@attrs.define
class _Service:
    follower: Follower
    publisher: _Publisher
    notices: Notices
    signals: _Signals
    manager: Manager = attrs.field(factory=Manager)

    def run(self) -> None:
        # Ready for signals; the source may come later, and the map with it.
        self.manager.tell(READY=1)
        try:
            while not self.signals.stop:
                if self.signals.reload:
                    self._reload()
                seconds = self.follower.step()
                self.manager.status(self._status())
                self.manager.feed()
                if self.manager.watchdog is not None:
                    seconds = min(seconds, self.manager.watchdog / 4)
                if not self.signals.stop and not self.signals.reload:
                    self.signals.wait(seconds, self.follower.fds())
        finally:
            self.manager.tell(STOPPING=1)

    def _reload(self) -> None:
        self.signals.reload = False
        self.manager.tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        again = self.publisher.chosen.again
        assert again is not None
        try:
            chosen = again()
            config = _config(chosen, self.publisher.export.map_values)
        except CyrusQuotaError as error:
            self.notices.wrong("configuration", str(error))
        else:
            self.notices.right("configuration")
            self.publisher.chosen = chosen
            self.follower.ask(config)
        self.manager.tell(READY=1)

    def _status(self) -> str:
        wrong = self.notices.first_wrong()
        return wrong if wrong is not None else self.publisher.summary
