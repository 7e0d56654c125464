"""Backends, an MX and the server between them, in one process and with a clock of their own.

The publishers and the mirror are the real ones. A tick is `TICK` seconds.
"""

from __future__ import annotations

from typing import Callable, Optional

import attrs

from cyrusquota.engine.mirror import Mirror
from cyrusquota.engine.protocol import BEAT, LAPSE
from cyrusquota.engine.publisher import StorePublisher
from cyrusquota.follow.notices import Notices
from cyrusquota.publish.guard import Limits

from .simulated_engine import Server, SimulatedEngine, Store

TICK = 5.0
BEATS, LAPSES = round(BEAT / TICK), round(LAPSE / TICK)
#: Ticks: nobody may be listed for longer than that after the last publisher has named them. The
#: server and both sides are looked at once in a tick only, which is why there are two more.
STALE = 2 * LAPSES + BEATS + 2
#: Ticks until a request that was stuck may be carried out.
DELAYS = (1, 5, STALE + 2)
#: Ticks after which all must be well again.
HEALED = 3 * LAPSES + 4 * BEATS + max(DELAYS)
NAMES = ("a", "b")
ANYTHING = Limits(None, None)


def ignored(line: str) -> None:
    pass


def quiet() -> Notices:
    return Notices(ignored, ignored)


def entry(name: str) -> bytes:
    return f"{name}@example.org".encode()


class Listed(dict[bytes, bytes]):
    """What a mirror has listed."""

    def put(self, key: bytes, status: bytes) -> None:
        self[key] = status

    def drop(self, key: bytes) -> None:
        self.pop(key, None)


@attrs.define
class Host:
    """A backend: who is full there, and its publisher."""

    name: str
    publisher: StorePublisher
    engine: SimulatedEngine
    full: set[str] = attrs.field(factory=set)
    is_alive: bool = True


@attrs.define
class Late:
    """A request that is carried out when its tick has come and the server is up."""

    due: int
    request: Callable[[], object]
    #: Whether the mirror gets an answer first in that tick.
    is_last: bool


class Network:
    """Two stores and a mirror, and what can happen to them."""

    publisher_class: type[StorePublisher] = StorePublisher
    mirror_class: type[Mirror] = Mirror
    server_class: type[Server] = Server

    def __init__(self) -> None:
        self.ticks = 0
        self.server = self.server_class()
        self.late: list[Late] = []
        self.snapshots: list[dict[str, Store]] = [{}]
        self.hosts: list[Host] = []
        #: For each tick, who is full by any live publisher of a name.
        self.named: list[dict[str, frozenset[str]]] = []
        self.unreachable = self.processes = 0
        for name in NAMES:
            self.add_host(name)
        self.restart_mirror()

    def clock(self) -> float:
        return self.ticks * TICK

    def add_host(self, name: str, full: Optional[set[str]] = None) -> Host:
        host = self._host(name)
        host.full = set(full or ())
        self.hosts.append(host)
        return host

    def _host(self, name: str) -> Host:
        engine = SimulatedEngine(self.server)
        self.processes += 1
        publisher = self.publisher_class(
            engine,
            name,
            notices=quiet(),
            holder=f"{name}:{self.processes}",
            limits=ANYTHING,
            clock=self.clock,
        )
        return Host(name, publisher, engine)

    def restart_host(self, host: Host) -> Host:
        """Let a new process speak for the same users, with the connection as it is."""
        new = self._host(host.name)
        new.full, new.engine.is_cut, new.engine.late = host.full, host.engine.is_cut, None
        self.hosts[self.hosts.index(host)] = new
        return new

    def restart_mirror(self) -> None:
        self.listed = Listed()
        self.mirror_engine = SimulatedEngine(self.server)
        self.mirror = self.mirror_class(
            self.mirror_engine, self.listed, notices=quiet(), limits=ANYTHING, clock=self.clock
        )

    def fail_over(self, ago: int) -> None:
        """Let a replica take over that has what the server had `ago` ticks ago.

        Whatever the server got later is lost, for the other replicas too.
        """
        at = max(0, len(self.snapshots) - 1 - ago)
        del self.snapshots[at + 1 :]
        self.server.stores = dict(self.snapshots[at])

    def lose_everything(self) -> None:
        self.server.stores = {}

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self._tick()

    def stick(self, host: Host, delay: int, is_last: bool = False, ticks: int = 1) -> None:
        """Let what a host writes meanwhile be stuck in the network."""
        for _ in range(ticks):
            stuck: list[Callable[[], object]] = []
            host.engine.late = stuck
            self._tick()
            due = self.ticks + delay
            self.late += [Late(due, request, is_last) for request in stuck[:4]]
            host.engine.late = None

    def _tick(self) -> None:
        self.ticks += 1
        self._carry_out(is_last=False)
        for host in self.hosts:
            if host.is_alive:
                host.publisher.publish({entry(name): b"over" for name in host.full})
                host.publisher.step()
        self.named.append(
            {
                name: frozenset().union(
                    *(host.full for host in self.hosts if host.name == name and host.is_alive)
                )
                for name in NAMES
            }
        )
        self.mirror.step()
        self._carry_out(is_last=True)
        self.snapshots = [*self.snapshots, self.server.copy()][-60:]
        is_cut = self.mirror_engine.is_cut or not self.server.is_up
        self.unreachable = self.unreachable + 1 if is_cut else 0
        self.check()

    def _carry_out(self, *, is_last: bool) -> None:
        if not self.server.is_up:
            return
        due = [one for one in self.late if one.due <= self.ticks and one.is_last == is_last]
        self.late = [one for one in self.late if one not in due]
        for one in due:
            one.request()

    # What must hold

    def check(self) -> None:
        """Nobody is listed whom nobody has named for long, or while the server is away for long."""
        recent = self.named[-STALE - 1 :]
        ever = {entry(name) for said in recent for names in said.values() for name in names}
        assert set(self.listed) <= ever, (self.ticks, "nobody names them any more")
        if self.unreachable > LAPSES + 1:
            assert not self.listed, (self.ticks, "the server is away for long")
            assert not self.mirror.is_alive

    def heal(self) -> None:
        """End all faults; after a time the mirror lists whom the live publishers name."""
        self.server.is_up, self.mirror_engine.is_cut = True, False
        for host in self.hosts:
            host.engine.is_cut = False
        self.tick(HEALED)
        found = self.holders()
        expected = {entry(name) for host in found for name in host.full}
        assert set(self.listed) == expected, (self.ticks, "not who is named")
        for _ in range(4 * LAPSES):
            self.tick()
            assert self.holders() == found, (self.ticks, "they take the store from each other")
            assert set(self.listed) == expected, (self.ticks, "not who is named")

    def holders(self) -> list[Host]:
        """Return the live publisher that has each store."""
        found = []
        for name in NAMES:
            status = None if name not in self.server.stores else self.server.stores[name].status
            live = [host for host in self.hosts if host.name == name and host.is_alive]
            if live:
                assert status is not None
                found += [host for host in live if host.publisher.holder == status.holder]
        return found
