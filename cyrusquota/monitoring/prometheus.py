"""Write Prometheus's text format (version 0.0.4) for node_exporter's textfile collector.

Two samples of one metric with the same labels make the collector throw the whole file away. So
different names give different labels, whatever bytes they have.
"""

from __future__ import annotations

import re
from typing import Iterable, Iterator, Mapping, Optional, Union

import attrs

Number = Union[int, float]


@attrs.frozen
class Metric:
    """A gauge: its name, its help text, and its samples by their labels."""

    name: str
    help: str
    samples: Iterable[tuple[Mapping[str, str], Number]]

    @classmethod
    def single(cls, name: str, about: str, value: Number, **labels: str) -> Metric:
        """Return a metric with one sample."""
        return cls(name, about, ((labels, value),))


def exposition(metrics: Iterable[Metric]) -> bytes:
    """Return the text of `metrics`; those without a sample are left out."""
    return "".join(line for metric in metrics for line in _lines(metric)).encode("utf-8")


def value_of(name: str, content: bytes) -> Optional[float]:
    """Return the value of a metric without labels from the text that `exposition` made, or None."""
    match = re.search(rb"^%b ([0-9.e+-]+)$" % re.escape(name.encode()), content, re.MULTILINE)
    try:
        return None if match is None else float(match[1])
    except ValueError:
        return None


def label(name: str) -> str:
    r"""Return `name` for a label: `\` and what is not printable UTF-8 as `\xNN`, byte by byte."""
    return "".join(map(_spelled, name))


def _spelled(char: str) -> str:
    if char != "\\" and char.isprintable():
        return char
    try:
        return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        # A lone surrogate, which only the JSON of `quota -J` can hold; it stands for no bytes.
        return f"\\u{ord(char):04x}"


def _lines(metric: Metric) -> Iterator[str]:
    for number, (labels, value) in enumerate(metric.samples):
        if not number:
            yield f"# HELP {metric.name} {_escaped(metric.help)}\n"
            yield f"# TYPE {metric.name} gauge\n"
        pairs = ",".join(f'{key}="{_quoted(text)}"' for key, text in labels.items())
        yield f"{metric.name}{{{pairs}}} {value!r}\n" if pairs else f"{metric.name} {value!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")
