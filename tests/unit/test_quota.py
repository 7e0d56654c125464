"""The arithmetic of usage and limits, as Cyrus does it."""

from __future__ import annotations

from typing import Optional

import pytest

from cyrusquota.quota import QuotaRoot, Resource, Usage, wrap64

MAX = (1 << 63) - 1


@pytest.mark.parametrize(
    ("used", "limit", "more", "over"),
    [
        (10239, 10240, 0, False),
        (10240, 10240, 0, False),
        (10241, 10240, 0, True),
        (10240, 10240, 1, True),
        (10, 10, 1, True),
        (9, 10, 1, False),
        (0, 0, 0, False),
        (1, 0, 0, True),
        (MAX, None, 0, False),
        (-5, 0, 0, False),
        (-5, 0, 6, True),
        # A limit that wrapped below zero is passed by everything.
        (5, -(1 << 63), 0, True),
        (-(1 << 63), -(1 << 63), 0, False),
        # used + more wraps too.
        (MAX, 10, 1, False),
        (MAX, 10, 0, True),
    ],
)
def test_over_means_strictly_above_the_limit(
    used: int, limit: Optional[int], more: int, over: bool
) -> None:
    assert Usage(used, limit).is_over(more) is over


@pytest.mark.parametrize(
    ("resource", "limit", "most"),
    [
        (Resource.STORAGE, 10, 10240),
        (Resource.ANNOTATION_STORAGE, 10, 10240),
        (Resource.MESSAGE, 10, 10),
        (Resource.MAILBOX, 10, 10),
        (Resource.STORAGE, 0, 0),
        (Resource.STORAGE, None, None),
        (Resource.STORAGE, -1, None),
        (Resource.MESSAGE, -7, None),
        (Resource.STORAGE, (1 << 53) - 1, MAX - 1023),
        (Resource.STORAGE, 1 << 53, -(1 << 63)),
        (Resource.STORAGE, 1 << 54, 0),
        (Resource.MESSAGE, MAX, MAX),
    ],
)
def test_limits_are_multiplied_by_the_unit_in_64_bits(
    resource: Resource, limit: Optional[int], most: Optional[int]
) -> None:
    assert Usage.in_units(resource, 3, limit) == Usage(3, most)


@pytest.mark.parametrize(
    ("number", "wrapped"),
    [(0, 0), (MAX, MAX), (MAX + 1, -MAX - 1), (1 << 64, 0), (-MAX - 2, MAX), (-1, -1)],
)
def test_numbers_wrap_at_64_bits(number: int, wrapped: int) -> None:
    assert wrap64(number) == wrapped


def test_resources_have_the_codes_of_database_values() -> None:
    assert [resource.code for resource in Resource] == [b"S", b"M", b"AS", b"NF"]


def test_a_root_gives_its_usages_in_the_order_of_cyrus() -> None:
    root = QuotaRoot("user.jane", Usage(1, 2), Usage(3, 4), Usage(5, 6), Usage(7, 8))
    assert list(root.usages()) == [
        (Resource.STORAGE, Usage(1, 2)),
        (Resource.MESSAGE, Usage(3, 4)),
        (Resource.ANNOTATION_STORAGE, Usage(5, 6)),
        (Resource.MAILBOX, Usage(7, 8)),
    ]


def test_what_is_left_out_is_unused_unlimited_and_exact() -> None:
    root = QuotaRoot.of("user.jane", {Resource.MESSAGE: Usage(3, 4)})
    assert root == QuotaRoot("user.jane", message=Usage(3, 4))
    assert root.storage == Usage(used=0, limit=None, exact=True)
