"""Several hosts: backends publish who is full, and each MX keeps a map of what all of them say.

A *store* is a set of users; one publisher (`publisher`) speaks for it, and any number of mirrors
(`mirror`) follow it. Between them is the *engine* (`interface`), a server that keeps the stores:
Redis or Valkey (`redis`), with functions that an administrator loads (`functions`). `protocol` is
what all of them agree on.
"""

from __future__ import annotations

from cyrusquota.engine.interface import Answer, Engine, StoreNews
from cyrusquota.engine.protocol import Change, Stamp, StoreContent, StoreStatus

__all__ = ["Answer", "Change", "Engine", "Stamp", "StoreContent", "StoreNews", "StoreStatus"]
