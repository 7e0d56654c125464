"""Put a map in place: atomic, locked, guarded."""

from __future__ import annotations

from cyrusquota.publish.atomic import Claim, Ownership, PublishResult, claim, in_place, publish

__all__ = ["Claim", "Ownership", "PublishResult", "claim", "in_place", "publish"]
