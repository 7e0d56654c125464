"""Metrics as Prometheus's own client reads them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable, Iterable, Mapping

import attrs
import pytest

if TYPE_CHECKING:
    from prometheus_client import Metric

Labels = frozenset[tuple[str, str]]


@attrs.frozen
class MetricSamples:
    """Every sample, by name and labels; the type and the help of each metric."""

    samples: Mapping[tuple[str, Labels], float]
    kinds: Mapping[str, str]
    helps: Mapping[str, str]

    def names(self) -> set[str]:
        """The names of all metrics."""
        return set(self.kinds)

    def value(self, name: str, **labels: str) -> float:
        """The value of one sample."""
        return self.samples[f"cyrusquota_{name}", frozenset(labels.items())]

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """The values of a metric by the text of a label."""
        return {
            dict(labels)[label]: value
            for (found, labels), value in self.samples.items()
            if found == f"cyrusquota_{name}"
        }


def _parser() -> Callable[[str], Iterable[Metric]]:
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ImportError:
        reason = "no prometheus_client here: pip install prometheus-client"
        (pytest.fail if os.environ.get("CYRUSQUOTA_NO_SKIP") else pytest.skip)(reason)
    return text_string_to_metric_families


def metric_samples(content: bytes) -> MetricSamples:
    """What a file of metrics says; no sample may be there twice."""
    families = list(_parser()(content.decode("utf-8")))
    samples = [sample for family in families for sample in family.samples]
    by_name = {
        (sample.name, frozenset(sample.labels.items())): float(sample.value) for sample in samples
    }
    assert len(by_name) == len(samples)
    assert len({family.name for family in families}) == len(families)
    return MetricSamples(
        by_name,
        {family.name: family.type for family in families},
        {family.name: family.documentation for family in families},
    )
