"""Stay running and publish within a second of the change.

`loop.Follower` is the whole. `scan` reads everything once, `state` keeps that up to date with the
changes that `cyrusquota.cyrusdb.follow` finds, `map_entries` has the entries of the map, and
`publisher` puts it in place.
"""

from __future__ import annotations

from cyrusquota.follow.loop import Follower
from cyrusquota.follow.map_entries import MapEntries
from cyrusquota.follow.notices import Notices
from cyrusquota.follow.publisher import FollowPublisher
from cyrusquota.follow.scan import FollowConfig, Scan, scanned
from cyrusquota.follow.state import FollowState

__all__ = [
    "FollowConfig",
    "FollowPublisher",
    "FollowState",
    "Follower",
    "MapEntries",
    "Notices",
    "Scan",
    "scanned",
]
