"""Whatever a name is made of, Prometheus's own parser gives it back, and no two as the same."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from cyrusquota.monitoring.prometheus import Metric, exposition, label, value_of
from cyrusquota.quota import QuotaRoot, Usage
from tests.metric_samples import metric_samples

_raw = st.binary(max_size=30)
_NASTY = [b"\\", b"\\x5c", b'"', b"\n", b"\r", b"\xff", b"\\xff", b"{}", b",", b"\0", b"\x85", b" "]
_names = st.lists(
    _raw | st.sampled_from(_NASTY) | st.text(max_size=10).map(str.encode), max_size=8, unique=True
)


def _back(text: str) -> bytes:
    """The bytes behind the text of a label."""
    spelled = re.split(r"\\x([0-9a-f]{2})", text)
    parts = [
        bytes([int(part, 16)]) if number % 2 else part.encode("utf-8")
        for number, part in enumerate(spelled)
    ]
    return b"".join(parts)


@given(_names)
@example(_NASTY)
def test_any_names_come_back(names: list[bytes]) -> None:
    texts = [name.decode("utf-8", "surrogateescape") for name in names]
    samples = [({"domain": label(text)}, number) for number, text in enumerate(texts)]
    content = exposition([Metric("cyrusquota_x", "Of\nno \\ use.", samples)])
    found = metric_samples(content).by_label("x", "domain") if names else {}
    assert {_back(text): value for text, value in found.items()} == {
        name: number for number, name in enumerate(names)
    }
    assert content.isascii() or content.decode("utf-8").replace("\n", "").isprintable()


@given(st.lists(st.text(st.characters(), max_size=5), max_size=8, unique=True))
def test_half_characters_do_not_make_two_names_one(names: list[str]) -> None:
    assert len({label(name) for name in names}) == len(names)


@given(st.floats(0, 4e9) | st.integers(0, 1 << 63))
def test_a_value_is_found_again(value: float) -> None:
    metrics = [
        Metric.single("cyrusquota_other", "Another cyrusquota_x 5.", 7),
        Metric.single("cyrusquota_x", "This.", value),
    ]
    content = exposition(metrics)
    assert value_of("cyrusquota_x", content) == float(value)
    assert metric_samples(content).value("x") == float(value)
    assert value_of("cyrusquota_y", content) is None


@given(st.integers(-(1 << 63), 1 << 63))
def test_whole_numbers_are_told_to_the_last_digit(number: int) -> None:
    root = QuotaRoot("user.jane", Usage(number))
    content = exposition([Metric.single("x", "Bytes.", root.storage.used)])
    assert content.splitlines()[-1] == b"x %d" % number
