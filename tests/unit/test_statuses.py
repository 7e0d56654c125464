"""Statuses of users, and the values that maps make of them."""

from __future__ import annotations

import re

import pytest

from cyrusquota.errors import OptionError
from cyrusquota.maps import FORMATS
from cyrusquota.maps.status import NEAR, OVER, PATTERN, free, size_left
from cyrusquota.maps.values import MapValues


def test_a_status_is_what_hosts_tell_each_other() -> None:
    assert (OVER, NEAR, free(0), free(1048576)) == (b"over", b"near", b"free=0", b"free=1048576")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Over",
        b"over ",
        b"over\n",
        b":fail: no",
        b"free=",
        b"free=-1",
        b"free=01",
        b"free=1.5",
        b"free=1K",
        b"free=" + b"9" * 19,
        b"free=\xd9\xa1",
        b"free=1\n",
    ],
)
def test_nothing_else_is_a_status(value: bytes) -> None:
    assert not re.fullmatch(PATTERN, value)
    assert size_left(value) is None


@pytest.mark.parametrize("status", [OVER, NEAR, free(0), free(10**18 - 1)])
def test_every_status_is_one(status: bytes) -> None:
    assert re.fullmatch(PATTERN, status)


def test_only_a_size_says_how_much_is_left() -> None:
    assert size_left(free(1234)) == 1234
    assert size_left(OVER) is size_left(NEAR) is None


def test_a_map_refuses_only_who_is_certainly_full() -> None:
    values = MapValues(FORMATS["lsearch"], "552 5.2.2 Full", refuse=True)
    assert values.of(OVER) == b":fail: 552 5.2.2 Full"
    assert values.of(NEAR).startswith(b":defer: 4.2.2 ")
    assert values.of(free(7)) == b"free=7"


def test_a_map_that_cannot_compare_sizes_has_no_value_for_one() -> None:
    values = MapValues(FORMATS["postfix"])
    assert values.of(OVER) == values.of(NEAR)
    with pytest.raises(OptionError, match="--headroom"):
        values.of(free(7))
