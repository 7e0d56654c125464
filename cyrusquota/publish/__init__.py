"""Put a map in place: atomically, under a lock, past a guard against implausible changes."""

from __future__ import annotations

from cyrusquota.publish.atomic import Claim, Ownership, PublishResult, claim, in_place, publish

__all__ = ["Claim", "Ownership", "PublishResult", "claim", "in_place", "publish"]
