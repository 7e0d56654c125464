"""Two Cyrus servers, an engine, a mirror and an Exim: who is full there is deferred here."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from typing import Iterator

import pytest

from cyrusquota.engine import functions

from . import processes, smtp
from .cyrus import Cyrus
from .many_hosts import DOMAIN, PROJECT, Chain, chain
from .processes import until
from .redis_server import Redis

pytestmark = pytest.mark.integration

UNLISTED = "free"


@contextlib.contextmanager
def mx(two: list[Cyrus]) -> Iterator[Chain]:
    """An MX that knows who is full on both servers, and is asked about jane and mary."""
    sources = {f"be{number}": one.conf for number, one in enumerate(two, 1)}
    with (
        Redis(functions=functions.text()) as redis,
        chain(redis.url, sources, ("jane", "mary"), UNLISTED) as found,
    ):
        yield found


@pytest.fixture
def two(needs_cyrus: None, needs_exim: None, needs_redis: None) -> Iterator[list[Cyrus]]:
    """Two Cyrus servers; jane has her mailbox on the first, mary on the second."""
    with Cyrus() as first, Cyrus() as second:
        for server, users in ((first, ("jane", UNLISTED)), (second, ("mary",))):
            server.start()
            server.create_with_root(users, 10)
        yield [first, second]


def test_a_user_filled_on_a_backend_is_deferred_at_the_mx(two: list[Cyrus]) -> None:
    first, second = two
    with mx(two) as hosts:
        asker = hosts.asker
        asker.first("jane", 250, 0)
        begun = time.monotonic()
        first.fill("jane")
        asker.first("jane", 451, begun)
        assert asker.codes("mary", 0) == {250}
        begun = time.monotonic()
        second.fill("mary")
        first.expunge("jane")
        asker.first("mary", 451, begun)
        asker.first("jane", 250, begun)


def test_exim_opens_no_socket_for_a_lookup(two: list[Cyrus], needs_strace: None) -> None:
    two[0].fill("jane")
    with mx(two) as hosts:
        hosts.asker.first("jane", 451, 0)
        hosts.asker.stop()
        without = traced(hosts, [])
        looked_up = traced(hosts, ["jane", UNLISTED, "mary"])
    # strace sees that the map is read, so it would see a socket.
    assert (str(hosts.map) in without, str(hosts.map) in looked_up) == (False, True)
    assert len(re.findall(r"\bsocket\(", looked_up)) == len(re.findall(r"\bsocket\(", without))


def test_the_demonstration_leads_to_the_451(
    needs_cyrus: None, needs_exim: None, needs_redis: None
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.demo_many"], cwd=PROJECT, capture_output=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"RCPT TO:<jane@example.net>  451 4.2.2 " in done.stdout


def traced(hosts: Chain, users: list[str]) -> str:
    """The sockets and files that Exim opens while it is asked about `users` in one session."""
    daemon = hosts.exim
    output, said = hosts.directory / "trace", hosts.directory / "strace.log"
    command = ["strace", "-f", "-e", "trace=socket,openat,open", "-p", str(daemon.pid)]
    tracer = processes.start([*command, "-o", str(output)], said)
    until(lambda: "attached" in said.read_text(), "strace follows Exim")
    with smtp.session(daemon.port) as talk:
        talk.begin()
        for user in users:
            talk.rcpt(f"{user}@{DOMAIN}")
    # It ends when its daemon's children have; SIGINT detaches it.
    until(lambda: "exited" in output.read_text(), "the session's process has ended")
    processes.end(tracer, signal.SIGINT)
    found = output.read_text()
    output.unlink()
    said.unlink()
    return found
