"""The fault matrix of docs/many-hosts.md: servers break while a real Exim is asked all the time.

In no case is a user refused whom nobody lists. `make fault-matrix` puts what was seen into the
document. Passwords, rights and certificates are in test_fault_security.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Iterator

import pytest

from cyrusquota.engine import functions

from . import network
from .fault_site import FULL, SECOND, STORES, Row, Site, site
from .many_hosts import Backend, publisher
from .redis_server import DOWN_AFTER_MS, Redis, Replicated

pytestmark = pytest.mark.integration

ENGINE = "127.0.0.2"
#: Seconds in which a store lapses.
LONG = 15.0


@pytest.fixture
def engine(faults: list[Row]) -> Iterator[Redis]:
    with Redis(host=ENGINE, functions=functions.text()) as found:
        yield found


@pytest.fixture
def hosts(engine: Redis) -> Iterator[Site]:
    with site(engine.url) as found:
        yield found


def nothing() -> None:
    """There is nothing to repair."""


def cut() -> None:
    network.cut(ENGINE)


def test_engine_killed(engine: Redis, hosts: Site, faults: list[Row]) -> None:
    fault = "engine killed, back and empty after 6 s"
    faults.append(hosts.row(fault, engine.kill, engine.start, seconds=6))


def test_engine_stopped(engine: Redis, hosts: Site, faults: list[Row]) -> None:
    fault = f"engine stopped for {LONG:.0f} s (SIGSTOP)"
    faults.append(hosts.row(fault, engine.freeze, engine.thaw, seconds=LONG, accepted=FULL))


def test_short_partition(hosts: Site, faults: list[Row]) -> None:
    faults.append(hosts.row("engine partitioned for 5 s", cut, network.heal, seconds=5))


def test_long_partition(hosts: Site, faults: list[Row]) -> None:
    fault = f"engine partitioned for {LONG:.0f} s"
    faults.append(hosts.row(fault, cut, network.heal, seconds=LONG, accepted=FULL))


def test_engine_emptied(engine: Redis, hosts: Site, faults: list[Row]) -> None:
    faults.append(hosts.row("engine emptied (FLUSHALL)", engine.empty, nothing))


def test_functions_lost(engine: Redis, hosts: Site, faults: list[Row]) -> None:
    """A server that saved nothing has no functions after a restart."""
    library, engine.functions = engine.functions, None

    def restart() -> None:
        engine.kill()
        engine.start()

    def load() -> None:
        assert library is not None
        engine.load(library)

    fault = "engine restarted without the functions, loaded later"
    faults.append(hosts.row(fault, restart, load, accepted=FULL))


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_failover(faults: list[Row], how: str) -> None:
    """The times count from the fault on, since nobody repairs anything."""
    addresses = [f"127.0.0.{number}" for number in range(2, 8)]
    cluster = Replicated(hosts=addresses, functions=functions.text())
    with cluster, site(cluster.url) as hosts:
        first = cluster.primary()
        fault = f"primary {how}, Sentinel with down-after {DOWN_AFTER_MS // 1000} s"
        begin = first.kill if how == "killed" else first.freeze
        faults.append(hosts.row(fault, begin, nothing))


def test_publisher_killed(hosts: Site, faults: list[Row]) -> None:
    one, fault = (
        hosts.chain.publishers[STORES[0]],
        f"publisher of {STORES[0]} killed, started later",
    )
    faults.append(hosts.row(fault, one.kill, one.start, accepted=FULL[:1]))


def test_publisher_doubled(engine: Redis, hosts: Site, faults: list[Row]) -> None:
    """The newer one is believed; the older one takes up again when the newer one is silent."""
    asker, first = hosts.chain.asker, FULL[0]
    double = Backend(hosts.chain.directory / "double")
    double.full(SECOND)
    begun = time.monotonic()
    words = (engine.url, STORES[0], "--no-mailboxes")
    with publisher(double.conf.parent, double.conf, *words) as newer:
        took = max(asker.first(SECOND, 451, begun), asker.first(first, 250, begun))
        asker.until(begun + took + LONG)
        # Neither takes the name from the other in turn.
        settled = begun + took
        assert (asker.codes(SECOND, settled), asker.codes(first, settled)) == ({451}, {250})
        ended = time.monotonic()
        newer.kill()
        back = max(asker.first(SECOND, 250, ended), asker.first(first, 451, ended))
    assert asker.codes(FULL[1], begun) == {451}
    meanwhile = f"those of the newer one deferred after {took:.1f} s"
    faults.append(hosts.result(f"second publisher of {STORES[0]}, killed later", meanwhile, back))


def test_mirror_killed(hosts: Site, faults: list[Row]) -> None:
    """The map becomes older than Exim believes."""
    one, fault = hosts.chain.mirror, "mirror killed, started later"
    faults.append(hosts.row(fault, one.kill, one.start, accepted=FULL))


def test_disk_full(engine: Redis, faults: list[Row]) -> None:
    """The map cannot be replaced, and becomes too old."""
    small = Path("/mnt")
    network.mount("tmpfs", "size=64k,mode=755", "none", small)
    ballast = small / "ballast"

    def fill() -> None:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))

    with site(engine.url, map_directory=small) as hosts:
        faults.append(hosts.row("disk of the MX full", fill, ballast.unlink, accepted=FULL))
