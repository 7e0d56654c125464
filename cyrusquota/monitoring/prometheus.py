"""Prometheus's text format (version 0.0.4), as node_exporter's textfile collector takes it.

One metric with two samples of the same labels makes the collector throw the whole file away, so
what becomes of a name in a label is different for different names, whatever bytes they have.
"""

from __future__ import annotations

import re
from typing import Iterable, Iterator, Mapping, Optional, Union

import attrs

Number = Union[int, float]


@attrs.frozen
class Metric:
    """A gauge: its name, what it tells, and its samples by their labels."""

    name: str
    help: str
    samples: Iterable[tuple[Mapping[str, str], Number]]

    @classmethod
    def single(cls, name: str, about: str, value: Number, **labels: str) -> Metric:
        """A metric with one sample."""
        return cls(name, about, ((labels, value),))


def exposition(metrics: Iterable[Metric]) -> bytes:
    """The text of `metrics`; those without a sample are left out."""
    return "".join(line for metric in metrics for line in _lines(metric)).encode("utf-8")


def value_of(name: str, content: bytes) -> Optional[float]:
    """The value of a metric without labels in what `exposition` made, None if it is not there."""
    match = re.search(rb"^%b ([0-9.e+-]+)$" % re.escape(name.encode()), content, re.MULTILINE)
    try:
        return None if match is None else float(match[1])
    except ValueError:
        return None


def label(name: str) -> str:
    r"""`name` as a label has it: what is not printable UTF-8, and `\`, as `\xNN` for each byte."""
    return "".join(map(_spelled, name))


def _spelled(char: str) -> str:
    if char != "\\" and char.isprintable():
        return char
    try:
        return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        # Half a character, which `quota -J` may have spelled so; no bytes are behind it.
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
