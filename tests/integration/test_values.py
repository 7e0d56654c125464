"""Values that no Cyrus writes, which its two parsers read in ways of their own.

tests/fixtures/values has them, each with what lmtpd answered a RCPT of its user in each backend:
452 over quota, 250 not over it, 451 in bad format. With a NUL inside, a quotalegacy file ends there
for Cyrus. Old values in flat files are left out: there lmtpd reads on into what it read before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator, Mapping

import pytest

import cyrusquota

from . import commands
from .cyrus import Cyrus

pytestmark = pytest.mark.integration

RECORDED = Path(__file__).parents[1] / "fixtures" / "values" / "answers.jsonl"
BACKENDS = ("twoskip", "skiplist", "quotalegacy", "flat")
CASES: list[dict[str, Any]] = [json.loads(line) for line in RECORDED.read_text().splitlines()]
KINDS = sorted({case["kind"] for case in CASES})
BAD_FORMAT = 451


class Site:
    """A server where each user has one of the values, and what lmtpd and the export say of it."""

    def __init__(self, cyrus: Cyrus) -> None:
        backend = cyrus.options["quota_db"]
        self.cases = {
            name(number, case["value"]): case
            for number, case in enumerate(CASES)
            if backend in case["lmtpd"]
        }
        cyrus.create(*(cyrus.mailbox(user) for user in self.cases))
        # With a root of their own that every header names.
        for user in self.cases:
            cyrus.set_quota(cyrus.mailbox(user), 1000)
        cyrus.set_rows(
            {f"user.{user}": case["value"].encode("latin-1") for user, case in self.cases.items()}
        )
        self.lmtpd = {user: cyrus.lmtp_rcpt(user).code for user in self.cases}
        self.recorded = {user: case["lmtpd"][backend] for user, case in self.cases.items()}
        self.conf = cyrus.conf

    def of(self, kind: str, codes: Mapping[str, int]) -> dict[str, int]:
        """Codes by value, of the values of one kind."""
        cases = self.cases.items()
        return {repr(case["value"]): codes[user] for user, case in cases if case["kind"] == kind}


def name(number: int, value: str) -> str:
    """A user such that key and value do not fill whole words, after which twoskip reads on."""
    user = f"v{number:02}"
    return user if (len(f"user.{user}") + len(value)) % 8 else f"{user}z"


@pytest.fixture(scope="module", params=BACKENDS)
def site(request: pytest.FixtureRequest, needs_cyrus: None) -> Iterator[Site]:
    with Cyrus({"quota_db": request.param}) as running:
        running.start()
        yield Site(running)


def test_the_recorded_answers_are_those_of_lmtpd(site: Site) -> None:
    assert site.lmtpd == site.recorded


@pytest.fixture(scope="module")
def exported(site: Site) -> dict[str, int]:
    """What the map and the problems amount to; the command names no more than twenty of these."""
    done, listed = commands.mapped("-C", str(site.conf))
    assert done.returncode == 0, done
    problems: list[cyrusquota.CyrusQuotaError] = []
    list(cyrusquota.from_config(cyrusquota.load(site.conf)).roots(problems.append))
    said = "\n".join(map(str, problems))

    def code(user: str) -> int:
        bad = BAD_FORMAT if f"'user.{user}'" in said else 250
        return 452 if user in listed else bad

    return {user: code(user) for user in site.cases}


@pytest.mark.parametrize("kind", KINDS)
def test_the_export_lists_whom_lmtpd_refuses(
    site: Site, exported: dict[str, int], kind: str
) -> None:
    refused = {value for value, code in site.of(kind, site.recorded).items() if code == 452}
    assert {value for value, code in site.of(kind, exported).items() if code == 452} == refused


def test_the_export_names_what_lmtpd_finds_in_bad_format(
    site: Site, exported: dict[str, int]
) -> None:
    bad = {user for user, code in site.recorded.items() if code == BAD_FORMAT}
    assert bad <= {user for user, code in exported.items() if code == BAD_FORMAT}


@pytest.mark.parametrize("kind", KINDS)
def test_explain_says_what_lmtpd_answers(site: Site, kind: str) -> None:
    """Of one value for each answer of lmtpd; explain takes a while."""
    some = {code: user for user, code in site.recorded.items() if site.cases[user]["kind"] == kind}
    for code, user in some.items():
        found = commands.explained(site.conf, user)
        assert found is not None
        assert (user, int(found["server"]["reply"][:3])) == (user, code)
