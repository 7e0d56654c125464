"""Ranges and lines, by the Monitoring Plugins Development Guidelines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota.errors import OptionError
from cyrusquota.monitoring.nagios import PerformanceData, PluginStatus, Range, Thresholds, line

#: The table of examples in the guidelines, each with values that raise an alert and that do not.
EXAMPLES = [
    ("10", (-1, 10.5, 11), (0, 5, 10)),
    ("10:", (9.99, -3), (10, 1e12)),
    ("~:10", (10.01, 11), (10, 0, -1e12)),
    ("10:20", (9, 21), (10, 15, 20)),
    ("@10:20", (10, 15, 20), (9.99, 20.01)),
]


@pytest.mark.parametrize(("text", "alert", "fine"), EXAMPLES)
def test_a_range_alerts_outside(
    text: str, alert: tuple[float, ...], fine: tuple[float, ...]
) -> None:
    found = Range.of(text)
    assert all(found.alerts(value) for value in alert)
    assert not any(found.alerts(value) for value in fine)


@pytest.mark.parametrize(
    ("text", "alert", "fine"),
    [
        ("0", (1, -1), (0,)),
        (":10", (-1, 11), (0, 10)),
        ("-20:-10", (-21, 0), (-20, -10)),
        ("@5", (0, 5), (-1, 6)),
        ("~:", (), (-1e300, 0, 1e300)),
        ("@~:0", (-1, 0), (1,)),
        ("0.5:.75", (0.4, 0.8), (0.5, 0.75)),
    ],
)
def test_ends_may_be_left_out(text: str, alert: tuple[float, ...], fine: tuple[float, ...]) -> None:
    test_a_range_alerts_outside(text, alert, fine)


@pytest.mark.parametrize(
    "text", ["", "@", "x", "10%", "1:2:3", "~", "~10", "10:~", "1e3", "٣", " 1", "1\n", "20:10"]
)
def test_anything_else_is_no_range(text: str) -> None:
    with pytest.raises(OptionError, match=r"expected a range|begins above its end"):
        Range.of(text)


@given(st.floats(-1e9, 1e9), st.sampled_from([text for text, _, _ in EXAMPLES]))
def test_turning_a_range_round_turns_every_answer(value: float, text: str) -> None:
    turned = text[1:] if text.startswith("@") else f"@{text}"
    assert Range.of(text).alerts(value) is not Range.of(turned).alerts(value)


@given(st.text("@~:.-0123456789x", max_size=12), st.floats(allow_nan=False))
def test_any_text_is_a_range_or_an_error_that_says_why(text: str, value: float) -> None:
    try:
        found = Range.of(text)
    except OptionError as error:
        assert "10:20" in str(error) or "turn it round" in str(error)
    else:
        assert str(found) == text
        assert Thresholds(found).reason("over", value).startswith("warning: over ") is (
            found.alerts(value)
        )


@given(st.text(st.characters()))
def test_any_text_is_told_on_one_line(text: str) -> None:
    told = line("X", PluginStatus.OK, text, [PerformanceData("over", 3)])
    assert told.isascii()
    assert told.isprintable()
    assert told.count("|") == 1


def test_critical_goes_before_warning() -> None:
    limits = Thresholds(Range.of("10"), Range.of("20"))
    assert [limits.status(value) for value in (10, 11, 21)] == [
        PluginStatus.OK,
        PluginStatus.WARNING,
        PluginStatus.CRITICAL,
    ]
    assert limits.reason("over", 10) == ""
    assert limits.reason("over", 11) == "warning: over above 10"
    assert limits.reason("over", 21) == "critical: over above 20"
    assert limits.reason("over", -1) == "critical: over below 0"
    assert Thresholds(Range.of("@5:7")).reason("over", 6) == "warning: over inside 5:7"


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (PerformanceData("over", 3), "over=3;;;0"),
        (
            PerformanceData("over", 3, thresholds=Thresholds(Range.of("50")), most=1200),
            "over=3;50;;0;1200",
        ),
        (
            PerformanceData("share", 0.25, "%", Thresholds(None, Range.of("@5:"))),
            "share=0.25%;;@5:;0",
        ),
        (PerformanceData("age", None, "s", least=None), "age=U"),
    ],
)
def test_figures(figure: PerformanceData, text: str) -> None:
    assert str(figure) == text


def test_a_line_has_one_bar_and_no_end_of_line() -> None:
    assert line("X", PluginStatus.OK, "a|b\nc\u00fc\udcff", [PerformanceData("over", 3)]) == (
        r"X OK - a\x7cb\nc\xfc\xff | over=3;;;0"
    )
    assert line("X", PluginStatus.UNKNOWN, "gone") == "X UNKNOWN - gone"
    long = line("X", PluginStatus.OK, "y" * 5000, [PerformanceData("over", 3)])
    assert len(long) < 700
    assert long.endswith("... | over=3;;;0")
