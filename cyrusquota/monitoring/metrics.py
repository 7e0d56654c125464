"""The metrics of `cyrusquota metrics`: the quota roots, the users, the map."""

from __future__ import annotations

from typing import Iterator, Mapping, Optional

from cyrusquota.maps.installed import InstalledMap
from cyrusquota.monitoring.prometheus import Metric, Number, label
from cyrusquota.publish.guard import Change
from cyrusquota.quota import QuotaRoot, Resource
from cyrusquota.verdicts.summary import Summary

UP = "cyrusquota_up"
LAST_SUCCESS = "cyrusquota_last_success_timestamp_seconds"

#: The names of the metrics of each root, by resource.
_ROOT_METRICS = {
    Resource.STORAGE: ("storage_used_bytes", "storage_limit_bytes"),
    Resource.MESSAGE: ("messages_used", "messages_limit"),
    Resource.ANNOTATION_STORAGE: (
        "annotation_storage_used_bytes",
        "annotation_storage_limit_bytes",
    ),
    Resource.MAILBOX: ("mailboxes_used", "mailboxes_limit"),
}


def of_run(is_up: bool, last_success: Optional[float], *, version: str) -> Iterator[Metric]:
    """Yield the metrics that are known whether or not the source could be read."""
    yield Metric.single(
        UP, "Whether the last run could tell all that it tells (1), or failed (0).", +is_up
    )
    yield Metric.single(
        "cyrusquota_build_info", "Always 1; which cyrusquota this is.", 1, version=version
    )
    if last_success is not None:
        about = "When a run last read the quota data, in seconds since 1970."
        yield Metric.single(LAST_SUCCESS, about, last_success)


def of_summary(summary: Summary) -> Iterator[Metric]:
    """Yield the metrics of all quota roots together."""
    yield Metric.single("cyrusquota_roots", "Quota roots.", summary.roots)
    yield _by_resource(
        "cyrusquota_limited_roots", "Quota roots that limit the resource.", summary.limited
    )
    yield _by_resource(
        "cyrusquota_over_roots", "Quota roots that use more than they may.", summary.over
    )
    about = f"Quota roots that use {summary.near:g} percent of a limit or more, and are not over."
    yield _by_resource("cyrusquota_near_roots", about, summary.near_limit)
    domains = sorted((label(domain or ""), totals) for domain, totals in summary.domains.items())
    about = "Limits of STORAGE added up; the empty domain is the site itself."
    promised = [({"domain": domain}, totals.limits) for domain, totals in domains]
    yield Metric("cyrusquota_promised_bytes", about, promised)
    about = "STORAGE used, that of roots without a limit included."
    used = [({"domain": domain}, totals.used) for domain, totals in domains]
    yield Metric("cyrusquota_used_bytes", about, used)


def of_users(users: int, refused: int, *, problems: int, seconds: float) -> Iterator[Metric]:
    """Yield the metrics of the users, and of how the quota data was read."""
    about = "Users with an INBOX here or, without mailboxes.db, with a quota root of their own."
    yield Metric.single("cyrusquota_users", about, users)
    about = "Users whose mail Cyrus would refuse now."
    yield Metric.single("cyrusquota_refused_users", about, refused)
    about = "Records that could not be read, and other things that were not as they should be."
    yield Metric.single("cyrusquota_problems", about, problems)
    about = "How long it took to read the quota data."
    yield Metric.single("cyrusquota_read_duration_seconds", about, round(seconds, 6))


def of_roots(roots: Mapping[str, QuotaRoot]) -> Iterator[Metric]:
    """Yield usage and limit of every root, for the resources that it uses or limits."""
    for resource, names in _ROOT_METRICS.items():
        used: list[tuple[dict[str, str], Number]] = []
        limits: list[tuple[dict[str, str], Number]] = []
        for name, root in roots.items():
            usage, labels = dict(root.usages())[resource], {"root": label(name)}
            if usage.limit is not None:
                limits.append((labels, usage.limit))
            if usage.used or usage.limit is not None:
                used.append((labels, usage.used))
        for name, about, samples in zip(names, ("Used", "Limit"), (used, limits)):
            about = f"{about} of {resource.value} of a quota root."
            yield Metric(f"cyrusquota_root_{name}", about, samples)


def of_map(installed_map: Optional[InstalledMap]) -> Iterator[Metric]:
    """Yield the metrics of the installed map, None where there is none."""
    about = "Whether there is a map in place (1), or none that can be read (0)."
    yield Metric.single("cyrusquota_map_found", about, +(installed_map is not None))
    if installed_map is not None:
        yield Metric.single("cyrusquota_map_entries", "Entries of the map.", installed_map.entries)
        about = "When the map was last renewed, in seconds since 1970."
        yield Metric.single(
            "cyrusquota_map_timestamp_seconds", about, round(installed_map.renewed, 3)
        )
        about = "How old the map was at the time of this run."
        yield Metric.single("cyrusquota_map_age_seconds", about, round(installed_map.age(), 3))


def of_change(change: Change, *, is_held_back: bool) -> Iterator[Metric]:
    """Yield the metrics of the change that an export would make to the installed map now."""
    about = "Whether an export would now be held back by its guard (1) or not (0)."
    yield Metric.single("cyrusquota_map_held_back", about, +is_held_back)
    counts = {"added": change.added, "removed": change.removed}
    about = "Entries by which a map written now would differ from the one in place."
    samples = [({"change": name}, count) for name, count in counts.items()]
    yield Metric("cyrusquota_map_pending_entries", about, samples)


def _by_resource(name: str, about: str, counts: Mapping[Resource, int]) -> Metric:
    samples = [({"resource": resource.value}, count) for resource, count in counts.items()]
    return Metric(name, about, samples)
