"""lmtpd goes by the root that the header of the INBOX names, and so do we, in each combination.

tests/fixtures/headers has the answers for the unit tests.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator

import pytest

from . import commands, headers
from .cyrus import Cyrus
from .headers import CASES, Case

pytestmark = pytest.mark.integration

RECORDED = Path(__file__).parents[1] / "fixtures" / "headers" / "answers.jsonl"


@pytest.fixture(scope="module", params=["twoskip", "quotalegacy"])
def cyrus(request: pytest.FixtureRequest, needs_cyrus: None) -> Iterator[Cyrus]:
    with Cyrus({"quota_db": request.param, **headers.OPTIONS}) as running:
        running.start()
        headers.build(running)
        yield running


@pytest.fixture(scope="module")
def replies(cyrus: Cyrus) -> dict[Case, int]:
    """What lmtpd answers in each case."""
    found = cyrus.lmtp_rcpts(case.address for case in CASES)
    return {case: reply.code for case, reply in zip(CASES, found)}


def _listed(cyrus: Cyrus, *options: str) -> set[str]:
    done, keys = commands.mapped("-C", str(cyrus.conf), "-q", *options)
    assert done.returncode == 0, done
    return keys


def test_the_recorded_answers_are_those_of_the_daemons(
    cyrus: Cyrus, replies: dict[Case, int]
) -> None:
    recorded: list[dict[str, Any]] = [
        json.loads(line) for line in RECORDED.read_text().splitlines()
    ]
    smmap = cyrus.smmap(case.address for case in CASES)
    assert recorded == [
        {
            "address": case.address,
            "header": case.named,
            "roots": case.roots,
            "lmtpd": replies[case],
            "smmapd": answer.partition(" ")[0],
        }
        for case, answer in zip(CASES, smmap)
    ]


def test_whom_lmtpd_refuses_is_listed(cyrus: Cyrus, replies: dict[Case, int]) -> None:
    refused = {case.address for case, code in replies.items() if code == 452}
    assert _listed(cyrus) == refused
    assert len(refused) > 20


def test_whom_smmapd_refuses_is_listed_by_its_policy(cyrus: Cyrus) -> None:
    answers = cyrus.smmap(case.address for case in CASES)
    refused = {case.address for case, answer in zip(CASES, answers) if answer == "TEMP Over quota"}
    assert _listed(cyrus, "--policy", "smmapd") == refused


def test_trusting_the_rows_lists_whom_their_own_full_root_would_refuse(cyrus: Cyrus) -> None:
    """`--headers trust-rows` reads no header of a user with a row of their own."""
    listed = _listed(cyrus, "--headers", "trust-rows")
    own = {case.address for case in CASES if case.own == "full"}
    assert {address for address in listed if "-gone@" not in address} == own


def test_explain_says_what_lmtpd_answers(cyrus: Cyrus, replies: dict[Case, int]) -> None:
    """Of one user for each header and row of their own, under a full root of the domain."""
    some = [case for case in CASES if (case.user, case.domain) == ("full", "roomy")]
    for case in some:
        found = commands.explained(cyrus.conf, case.address)
        assert found is not None
        assert (case, int(found["server"]["reply"][:3])) == (case, replies[case])
