"""Stay running, and let the map say within a second who is full.

`loop.Follower` is the whole; `scan` reads everything once, `state` keeps it up to date with the
changes that `cyrusquota.cyrusdb.tail` finds, `listing` has the entries of the map.
"""

from __future__ import annotations

from cyrusquota.follow.loop import Follower
from cyrusquota.follow.map_entries import Listing
from cyrusquota.follow.notices import Voice
from cyrusquota.follow.scan import Question, Scan, scanned
from cyrusquota.follow.state import State

__all__ = ["Follower", "Listing", "Question", "Scan", "State", "Voice", "scanned"]
