"""Follow what lmtpd goes by beside the quota database: headers, and conversations totals."""

from __future__ import annotations

import select
import time
from pathlib import Path
from typing import Iterator, Mapping

import pytest

from cyrusquota.cyrus import imapdconf
from cyrusquota.follow import FollowConfig, Follower, FollowPublisher, MapEntries, Notices
from cyrusquota.maps import entries, lsearch
from cyrusquota.maps.values import MapValues
from cyrusquota.publish.guard import Limits
from cyrusquota.publish.map_publisher import MapPublisher
from cyrusquota.site import source
from cyrusquota.site.site import Site
from cyrusquota.verdicts.evaluator import Query

from .cyrus import DOMAIN, PATIENCE, Cyrus

pytestmark = pytest.mark.integration

USERS = ("jane", "joe", "mary")
#: `quota -f` puts in what there is, which is more than the limit of 1 KiB, too.
FULL = b"%(S (999999 1) M (0) AS (0) NF (0))"


class InProcess:
    """A follower in this process, which reads headers and totals again after `seconds`."""

    def __init__(self, server: Cyrus, output: Path, seconds: float) -> None:
        self.output = output
        conf = imapdconf.load(server.conf)
        quotas = source.from_config(conf)
        query = Query(quotas.naming, site=Site.from_config(conf))
        publisher = FollowPublisher(MapPublisher(str(output), lsearch), Limits.of(["off"]))
        self.follower = Follower(
            FollowConfig(quotas, query, MapValues(lsearch)),
            map_entries=lambda: MapEntries(lambda to, value: entries([(to, value)]), lsearch.row),
            publish=publisher.publish,
            notices=Notices(lambda line: None, lambda line: None),
            poll=0.1,
            headers=seconds,
            totals=seconds,
        )

    def becomes(self, *users: str) -> None:
        """Follow until the map lists just these users."""
        deadline = time.monotonic() + PATIENCE
        while self.keys() != set(users):
            assert time.monotonic() < deadline, self.keys()
            self._step()

    def stays(self, *users: str, scans: int) -> None:
        """Follow for so many full scans, while the map lists just these users."""
        until = self.follower.scans + scans
        while self.follower.scans < until:
            self._step()
            assert self.keys() == set(users)

    def _step(self) -> None:
        seconds = min(self.follower.step(), 0.1)
        select.select(self.follower.fds(), [], [], seconds)

    def keys(self) -> set[str]:
        if not self.output.exists():
            return {"there is no map"}
        return {key.decode() for key in lsearch.keys(self.output.read_bytes())}


def test_a_message_marked_as_deleted_counts_no_more_soon(needs_cyrus: None, tmp_path: Path) -> None:
    """The totals change then, and the quota database does not."""
    options = {"conversations": "yes", "quota_use_conversations": "yes", "quota_db": "twoskip"}
    with Cyrus(options) as server:
        server.start()
        for user in ("jane", "joe"):
            server.create_user(user)
            assert server.deliver(user, 3000).code == 250
            server.set_quota(server.mailbox(user), 1)
        found = InProcess(server, tmp_path / "map", 1.0)
        found.becomes("jane", "joe")
        before = (server.lib / "quotas.db").stat()
        server.flag("jane", 1, r"\Deleted")
        assert (server.lib / "quotas.db").stat().st_mtime_ns == before.st_mtime_ns
        found.becomes("joe")
        assert _refused(server) == {"joe"}
        found.follower.close()


@pytest.fixture(params=["twoskip", "quotalegacy"])
def cyrus(request: pytest.FixtureRequest, needs_cyrus: None) -> Iterator[Cyrus]:
    with Cyrus({"quota_db": request.param}) as running:
        running.start()
        yield running


def _store(cyrus: Cyrus, records: Mapping[bytes, bytes]) -> None:
    cyrus.store(cyrus.lib / "quotas.db", cyrus.options["quota_db"], records)


def _refused(cyrus: Cyrus) -> set[str]:
    addresses = [f"{user}@{DOMAIN}" for user in USERS]
    return {user for user, reply in zip(USERS, cyrus.lmtp_rcpts(addresses)) if reply.code == 452}


def test_headers_that_come_to_name_a_full_root_are_noticed(cyrus: Cyrus, tmp_path: Path) -> None:
    for user in USERS:
        cyrus.create_user(user)
        assert cyrus.deliver(user, 3000).code == 250
    _store(cyrus, {b"user": FULL})
    found = InProcess(cyrus, tmp_path / "map", 1.0)
    found.becomes()
    assert _refused(cyrus) == set()
    cyrus.run("quota", "-f")
    assert _refused(cyrus) == set(USERS)
    found.becomes(*USERS)
    found.follower.close()


def test_a_row_that_the_header_does_not_name_counts_when_it_does(
    cyrus: Cyrus, tmp_path: Path
) -> None:
    for user in USERS:
        cyrus.create_user(user)
        assert cyrus.deliver(user, 3000).code == 250
    cyrus.set_quota(cyrus.mailbox("mary"), 1)
    _store(cyrus, {b"user.jane": FULL})
    found = InProcess(cyrus, tmp_path / "map", 1.0)
    found.becomes("mary")
    _store(cyrus, {b"user.joe": FULL})
    found.stays("mary", scans=2)
    assert _refused(cyrus) == {"mary"}
    cyrus.run("quota", "-f")
    assert _refused(cyrus) == set(USERS)
    found.becomes(*USERS)
    found.follower.close()
