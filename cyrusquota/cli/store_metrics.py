"""The metrics of `cyrusquota metrics --mirror`: the stores that a mirror follows."""

from __future__ import annotations

from typing import Iterator

from cyrusquota.engine.report import MirrorReport
from cyrusquota.monitoring.prometheus import Metric


def of_stores(seen: MirrorReport) -> Iterator[Metric]:
    """Yield the metrics of all stores."""
    yield Metric.single(
        "cyrusquota_mirror_reported_timestamp_seconds",
        "When the mirror last reported, in seconds since 1970.",
        seen.written,
    )
    yield Metric.single(
        "cyrusquota_claimed_twice", "Users in more than one store.", seen.claimed_twice
    )
    yield Metric.single(
        "cyrusquota_without_domain",
        "Users who are not in the map, which has addresses, as no domain is known for them.",
        seen.without_domain,
    )
    stores = [({"store": one.store}, one) for one in seen.stores]
    about = "Whether the mirror sees the store written (1), so that its users are in the map."
    # A mirror that does not run renews no map.
    fresh = [(k, +(one.state == "fresh" and seen.is_current)) for k, one in stores]
    yield Metric("cyrusquota_store_fresh", about, fresh)
    about = "Whether the store should be there or was, and is not written."
    yield Metric("cyrusquota_store_missing", about, [(k, +one.is_absent) for k, one in stores])
    about = "Whether the last change of the store is not believed."
    yield Metric("cyrusquota_store_doubted", about, [(k, +one.is_doubted) for k, one in stores])
    about = "Users of the store in the map."
    yield Metric("cyrusquota_store_entries", about, [(k, one.entries) for k, one in stores])
    about = "Seconds since the mirror last saw the store written, when it reported."
    silences = [(k, one.silence) for k, one in stores if one.silence is not None]
    yield Metric("cyrusquota_store_silence_seconds", about, silences)
