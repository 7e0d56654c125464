"""Publishers, mirrors and an Exim that is asked all the time, as processes on "several hosts".

The times of the protocol are shorter here, so that a test need not wait for minutes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Iterator, Mapping, NamedTuple, Optional, Sequence

import attrs

from . import processes, smtp
from .exim import readable_directory
from .exim_daemon import Daemon
from .processes import until

PROJECT = Path(__file__).resolve().parents[2]
#: Seconds between beats, and until a store lapses; as they are, and as most tests have them.
TIMES, SHORT_TIMES = (10.0, 60.0), (1.0, 12.0)
LAPSE = SHORT_TIMES[1]
#: How old the map may be for Exim, in place of 300 s.
MAX_AGE = 15
DOMAIN = "example.net"
#: How often Exim is asked.
PERIOD = 0.1
PATIENCE = 30.0

_START = """\
import sys
import cyrusquota.engine.protocol as protocol
protocol.BEAT, protocol.LAPSE = {times!r}
from cyrusquota.cli.{module} import {function}
sys.argv[0] = {name!r}
{function}()
"""
FUNCTIONS = {"export": ("cyrusquota-export", "export"), "mirror": ("cyrusquota-mirror", "mirror")}


class Backend:
    """The quotas of a backend: quotalegacy's files, written as Cyrus writes them, and imapd.conf.

    The users are those of the roots `user.NAME`; there is no mailboxes.db.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.conf = directory / "imapd.conf"
        self.conf.write_text(f"configdirectory: {directory}/lib\nunixhierarchysep: no\n")
        self._quotas = directory / "lib" / "quota"
        self._quotas.mkdir(parents=True)
        self.fine("postmaster")

    def full(self, *users: str) -> None:
        """Let these users have more than they may."""
        for user in users:
            self._put(user, 2 << 20)

    def fine(self, *users: str) -> None:
        """Let these users have less than they may."""
        for user in users:
            self._put(user, 1 << 10)

    def _put(self, user: str, used: int) -> None:
        file = self._quotas / user[0] / f"user.{user}"
        file.parent.mkdir(exist_ok=True)
        new = file.with_name(f"{file.name}.NEW")
        new.write_text(f"%(S ({used} 1024) M (1) AS (0) NF (1) MODSEQ 5)\n")
        new.replace(file)


class Command:
    """A service of the project as a process that can be killed, and started again."""

    def __init__(
        self,
        kind: str,
        directory: Path,
        *words: str,
        settings: Optional[Mapping[str, str]] = None,
        times: tuple[float, float] = SHORT_TIMES,
        environment: Optional[Mapping[str, str]] = None,
    ) -> None:
        """`settings` go into [engine] of its settings file."""
        self._environment = environment or {}
        directory.mkdir(exist_ok=True)
        self.said = directory / f"{kind}.log"
        self._words = words
        name, function = FUNCTIONS[kind]
        self._start = _START.format(times=times, module=kind, function=function, name=name)
        self._settings = directory / f"{kind}.conf"
        lines = [f"{key} = {value}\n" for key, value in (settings or {}).items()]
        self._settings.write_text("".join(["[engine]\n", *lines]))
        self._process: Optional[subprocess.Popen[bytes]] = None

    def __enter__(self) -> Command:
        self.start()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.kill()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the process does not run"
        return self._process

    def start(self) -> None:
        environment = {
            **os.environ,
            **self._environment,
            "PYTHONPATH": os.pathsep.join((str(PROJECT), *sys.path[1:])),
            "CYRUSQUOTA_SETTINGS": str(self._settings),
        }
        command = [sys.executable, "-c", self._start, *self._words]
        self._process = processes.start(command, self.said, environment)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            processes.kill(process)

    def lines(self) -> list[str]:
        """What it has said."""
        return self.said.read_text().splitlines()


class Answer(NamedTuple):
    """What Exim said to RCPT, when, and how long it took."""

    at: float
    user: str
    code: int
    seconds: float


class Asker:
    """Asks an Exim about each of `users` in turn, every 0.1 s, each in a session of its own.

    `unlisted` is nobody's full user: refusing them is what must never happen.
    """

    def __init__(self, port: int, users: Sequence[str], unlisted: str) -> None:
        self.unlisted = unlisted
        self.answers: list[Answer] = []
        self._port = port
        self._users = (unlisted, *users)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.failure: Optional[BaseException] = None

    def __enter__(self) -> Asker:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()
        if error is None:
            self.check()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()
        self._thread.join()

    def check(self) -> None:
        """Raise unless the user who is not listed was always accepted."""
        if self.failure is not None:
            raise self.failure
        refused = [one for one in self.answers if one.user == self.unlisted and one.code != 250]
        assert not refused, refused

    def _ask(self) -> None:
        try:
            while not self._stopped.wait(PERIOD):
                with smtp.session(self._port) as talk:
                    talk.begin()
                    for user in self._users:
                        self._ask_about(user, talk)
        except BaseException as error:
            self.failure = error

    def _ask_about(self, user: str, talk: smtp.Session) -> None:
        begun = time.monotonic()
        code = talk.rcpt(f"{user}@{DOMAIN}").code
        self.answers.append(Answer(begun, user, code, time.monotonic() - begun))

    def first(self, user: str, code: int, since: float) -> float:
        """Wait for an answer with `code` after `since`; the seconds from then to that question."""
        found: list[float] = []

        def is_there() -> bool:
            self.check()
            answers = reversed(self.answers)
            found[:] = [
                one.at
                for one in answers
                if one.user == user and one.code == code and one.at >= since
            ][-1:]
            return bool(found)

        until(is_there, f"Exim says {code} to {user}", 2 * LAPSE + PATIENCE)
        return found[0] - since

    def codes(self, user: str, since: float) -> set[int]:
        """The codes that Exim has given for a user after `since`."""
        return {one.code for one in self.answers if one.user == user and one.at >= since}

    def until(self, moment: float) -> None:
        """Go on asking until then."""
        until(
            lambda: self.failure is not None or bool(self.answers and self.answers[-1].at > moment),
            "Exim is asked",
            max(0, moment - time.monotonic()) + PATIENCE,
        )
        self.check()

    @property
    def slowest(self) -> float:
        """The longest time that an RCPT took."""
        return max(one.seconds for one in self.answers)


@attrs.frozen
class Chain:
    """All processes between the quotas of backends and the answers of an Exim."""

    #: For the hosts of the test; Exim may read it.
    directory: Path
    #: By the names of their stores.
    publishers: Mapping[str, Command]
    mirror: Command
    map: Path
    exim: Daemon
    asker: Asker

    def _commands(self) -> list[Command]:
        return [*self.publishers.values(), self.mirror]

    def runs(self) -> bool:
        """Whether no process has ended by itself."""
        return all(one.process.poll() is None for one in self._commands())

    def said(self) -> Iterator[str]:
        """What all of them have said."""
        for one in self._commands():
            yield from (f"{one.said.parent.name}: {line}" for line in one.lines())


@contextlib.contextmanager
def chain(
    url: str,
    sources: Mapping[str, Path],
    users: Sequence[str],
    unlisted: str,
    *,
    options: Sequence[str] = (),
    settings: Optional[Mapping[str, Mapping[str, str]]] = None,
    map_directory: Optional[Path] = None,
    lmtp: Optional[tuple[str, int]] = None,
) -> Iterator[Chain]:
    """Publish what is behind each imapd.conf of `sources`, mirror it, and ask Exim about `users`.

    `options` are further ones for the publishers. `settings` are those of [engine], by store, and
    for "mirror". `lmtp` is where Exim delivers to.
    """
    given = settings or {}
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(readable_directory())
        publishers = {
            store: stack.enter_context(
                publisher(directory / store, conf, url, store, *options, settings=given.get(store))
            )
            for store, conf in sources.items()
        }
        path = (map_directory or directory) / "overquota"
        words = ("--engine", url, "--expect", ",".join(sources), "-o", str(path))
        mirror = Command("mirror", directory / "mx", *words, settings=given.get("mirror"))
        stack.enter_context(mirror)
        host, port = lmtp or (smtp.HOST, None)
        macros = {"CYRUSQUOTA_MAX_AGE": str(MAX_AGE)}
        exim = stack.enter_context(Daemon(path, macros=macros, lmtp_host=host, lmtp_port=port))
        asker = stack.enter_context(Asker(exim.port, users, unlisted))
        found = Chain(directory, publishers, mirror, path, exim, asker)
        try:
            until(lambda: path.exists() or not found.runs(), "there is a map")
            assert found.runs(), "a process has ended"
            yield found
        except BaseException:
            print(*found.said(), sep="\n")
            raise


def publisher(
    directory: Path,
    conf: Path,
    url: str,
    store: str,
    *options: str,
    settings: Optional[Mapping[str, str]] = None,
    times: tuple[float, float] = SHORT_TIMES,
) -> Command:
    """The publisher of a backend, not yet started."""
    words = ("-C", str(conf), "--follow", "--engine", url, "--store", store, *options)
    return Command("export", directory, *words, settings=settings, times=times)
