"""What Exim prints of an address, recorded, and what is read from it."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from cyrusquota.mta import routing
from cyrusquota.mta.exim import Exim
from cyrusquota.mta.routing import Destination, Lookup

RECORDED = Path(__file__).parents[1] / "fixtures" / "exim" / "routing-4.96.txt"
SECTIONS = {
    section.partition("\n")[0]: section.partition("\n")[2]
    for section in RECORDED.read_text("utf-8").split("== ")[1:]
}
MAP = "/tmp/mx/map"
CYRUS = ("cyrus", "cyrus_lmtp")


class Recorded(Exim):
    """An Exim that prints what was recorded."""

    def routing(self, address: str) -> str:
        return SECTIONS[f"-bt {address}"]

    def traced(self, address: str) -> str:
        return SECTIONS[f"trace {address}"]


EXIM = Recorded("exim")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("jane", [Destination("jane@example.net", (), *CYRUS)]),
        (
            "janes",
            [Destination("jane@example.net", ("janey@example.net", "janes@example.net"), *CYRUS)],
        ),
        ("plus", [Destination("jane+work@example.net", ("plus@example.net",), *CYRUS)]),
        (
            "staff",
            [
                Destination(
                    "carl@elsewhere.example", ("staff@example.net",), "elsewhere", "remote"
                ),
                Destination("bob@example.net", ("staff@example.net",), *CYRUS),
                Destination("jane@example.net", ("staff@example.net",), *CYRUS),
            ],
        ),
        ("gone", [Destination("gone@example.net", problem="gone for good")]),
        ("hold", [Destination("hold@example.net", problem="wait")]),
        ("nobody", [Destination("nobody@example.net", problem="Unrouteable address")]),
        ("hole", [Destination(None, ("hole@example.net",))]),
        ("pipe", [Destination("|/bin/true", ("pipe@example.net",), None, "address_pipe")]),
        (
            "self",
            [
                Destination("jane@example.net", ("self@example.net",), *CYRUS),
                Destination("self@example.net", ("self@example.net",), *CYRUS),
            ],
        ),
        ('"a b"@example.net', [Destination('"a b"@example.net', (), *CYRUS)]),
        ("bob@nowhere@x", []),
    ],
)
def test_destinations_are_those_behind_all_aliases(asked: str, expected: list[Destination]) -> None:
    assert list(routing.destinations(EXIM, asked)) == expected


@pytest.mark.parametrize(
    ("target", "is_address"),
    [("jane@example.net", True), ("|/bin/true", False), ("/var/mail/x", False), (None, False)],
)
def test_a_destination_may_be_no_address(target: Optional[str], is_address: bool) -> None:
    assert Destination(target).is_address is is_address


#: By what was recorded: the address that the overquota router was given, what it did, the keys.
STEPS = {
    "janey": ("jane@example.net", "defer for jane@example.net", ("jane",)),
    "bob": ("bob@example.net", "skipped: condition failure", ("bob",)),
    "address": (
        "jane+x@example.net",
        "defer for jane+x@example.net",
        ("jane@example.net", "jane"),
    ),
    "unreadable": ("jane@example.net", "skipped: condition failure", ()),
    "cdb": ("jane@example.net", "skipped: condition failure", ()),
}


def _trace(asked: str) -> tuple[routing.Step, ...]:
    found = routing.trace(EXIM, asked)
    assert found is not None
    return found


@pytest.mark.parametrize("asked", list(STEPS))
def test_a_trace_has_the_keys_that_the_router_looks_up(asked: str) -> None:
    address, outcome, keys = STEPS[asked]
    (step,) = (one for one in _trace(asked) if one.router == "overquota")
    assert (step.address, step.outcome, step.keys(MAP)) == (address, outcome, keys)
    assert step.kind(MAP) == ("cdb" if asked == "cdb" else "lsearch")


def test_a_trace_has_the_value_that_was_found() -> None:
    steps = _trace("janey")
    assert [step.router for step in steps] == [
        *("elsewhere", "aliases"),
        *("elsewhere", "aliases", "copy", "overquota"),
    ]
    assert steps[1].lookups == (Lookup("/tmp/mx/aliases", "janey", "jane"),)
    assert set(steps[-1].lookups) == {Lookup(MAP, "jane", ":defer: 4.2.2 Full")}


def test_a_trace_says_why_a_file_could_not_be_opened() -> None:
    (step,) = (one for one in _trace("unreadable") if one.router == "overquota")
    assert step.unopened == "Permission denied (euid=102 egid=105)"


def test_a_trace_says_what_each_router_did() -> None:
    assert [(step.router, step.outcome) for step in _trace("nobody")] == [
        ("elsewhere", "skipped: domains mismatch"),
        ("aliases", "declined for nobody@example.net"),
        ("copy", "skipped: local_parts mismatch"),
        ("overquota", "skipped: condition failure"),
        ("cyrus", "skipped: local_parts mismatch"),
    ]
    assert _trace("bob")[-1].outcome == "routed"
    assert _trace("gone")[-1].outcome == "forced address failure"


def test_without_the_right_to_a_trace_nothing_is_known() -> None:
    assert routing.trace(EXIM, "not admin") is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("jane@example.net", "JANE+x@Example.Net", True),
        ("jane@example.net", "jane@example.com", False),
        ("jane@example.net", "janey@example.net", False),
    ],
)
def test_addresses_are_compared_without_case_and_suffix(one: str, other: str, same: bool) -> None:
    assert routing.is_same(one, other) is same
