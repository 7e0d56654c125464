"""cyrusquota check --mirror: the map of an MX, and the stores that it comes from."""

from __future__ import annotations

from typing import Iterator, Mapping, Optional

import attrs

from cyrusquota.cli.check import MEASURES, MIRROR_MEASURES, age_text, answer
from cyrusquota.engine import report
from cyrusquota.engine.report import MirrorReport
from cyrusquota.errors import MapError, NoSuchMap, count_of
from cyrusquota.maps.installed import MIRROR_MAX_AGE, InstalledMap, installed_map
from cyrusquota.monitoring.nagios import (
    PerformanceData,
    PluginStatus,
    Range,
    Thresholds,
    alert_reasons,
)

_NOT_SEEN = "not written since the mirror was started"
_WARNINGS = {"stores_doubted": Range.of("0"), "without_domain": Range.of("0")}
_CRITICALS = {"map_age": Range.of(str(MIRROR_MAX_AGE)), "stores_missing": Range.of("0")}


def check(
    path: str, warnings: Mapping[str, Range], criticals: Mapping[str, Range], form: str
) -> int:
    """Print the line or the object of the plugin, and return the exit status."""
    warnings, criticals = {**_WARNINGS, **warnings}, {**_CRITICALS, **criticals}
    thresholds = {
        name: Thresholds(warnings.get(name), criticals.get(name)) for name in MIRROR_MEASURES
    }
    found, wrong = None, []
    try:
        found = installed_map(path)
    except NoSuchMap as error:
        wrong.append(str(error))
    seen = None
    try:
        seen = report.load(report.place(path))
    except MapError as error:
        wrong.append(str(error))
    if seen is not None and not seen.is_current:
        wrong.append(f"cyrusquota-mirror does not run: it last reported {int(seen.age())} s ago")
    return _Check(thresholds, found, seen, wrong).answer(form)


@attrs.frozen
class _Check:
    """What was found, and the thresholds. `wrong` is critical whatever these are."""

    thresholds: Mapping[str, Thresholds]
    found: Optional[InstalledMap]
    seen: Optional[MirrorReport]
    wrong: list[str]

    def answer(self, form: str) -> int:
        measured = dict(self._measured())
        statuses = [self.thresholds[name].status(value) for name, value in measured.items()]
        figures = [self._figure(name, value) for name, value in measured.items()]
        if self.found is None:
            figures += [self._figure(name, None) for name in ("map_age", "map_entries")]
        if self.wrong:
            statuses.append(PluginStatus.CRITICAL)
        return answer(max(statuses), ", ".join(self._parts(measured)), figures, form)

    def _figure(self, name: str, value: Optional[float]) -> PerformanceData:
        least = None if name == "map_age" else 0
        return PerformanceData(name, value, MEASURES[name], self.thresholds[name], least)

    def _measured(self) -> Iterator[tuple[str, int]]:
        if self.found is not None:
            yield "map_age", int(self.found.age())
            yield "map_entries", self.found.entries
        if self.seen is not None:
            stores = self.seen.stores
            yield "stores", sum(store.state == "fresh" for store in stores)
            yield "stores_missing", sum(store.is_absent for store in stores)
            yield "stores_doubted", sum(store.is_doubted for store in stores)
            yield "claimed_twice", self.seen.claimed_twice
            yield "without_domain", self.seen.without_domain

    def _parts(self, measured: Mapping[str, int]) -> Iterator[str]:
        for text in self.wrong:
            yield f"critical: {text}"
        if "stores" in measured and self.seen is not None:
            of = count_of(len(self.seen.stores), "store")
            yield f"{measured['stores']} of {of} written{self._reasons(measured, 'stores')}"
            yield from self._of_stores(measured)
        if "map_age" in measured:
            reasons = self._reasons(measured, "map_age", "map_entries")
            yield f"{age_text(measured['map_age'])}{reasons}"

    def _of_stores(self, measured: Mapping[str, int]) -> Iterator[str]:
        assert self.seen is not None
        for name, stores in (
            ("stores_missing", [one for one in self.seen.stores if one.is_absent]),
            ("stores_doubted", [one for one in self.seen.stores if one.is_doubted]),
        ):
            reasons = self._reasons(measured, name)
            if stores or reasons:
                texts = [f"{one.store} {one.state}: {one.problem or _NOT_SEEN}" for one in stores]
                yield f"{'; '.join(texts) or 'none'}{reasons}"
        for name, what in (
            ("claimed_twice", "in more than one store"),
            ("without_domain", "not listed, as no domain is known"),
        ):
            users, reasons = measured[name], self._reasons(measured, name)
            if users or reasons:
                yield f"{count_of(users, 'user')} {what}{reasons}"

    def _reasons(self, measured: Mapping[str, int], *names: str) -> str:
        return alert_reasons(self.thresholds, measured, *names)
