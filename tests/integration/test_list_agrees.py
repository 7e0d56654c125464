"""`cyrusquota list` says of a database what Cyrus's own programs say of it."""

from __future__ import annotations

import json
import re
from typing import Any, Iterator, NamedTuple, Optional

import pytest

from . import commands
from .cyrus import Cyrus

pytestmark = pytest.mark.integration

#: (used, limit) of each resource, bytes or counts; a limit of None is unlimited.
Usages = dict[str, tuple[int, Optional[int]]]

CODES = {"S": "STORAGE", "M": "MESSAGE", "AS": "ANNOTATION-STORAGE", "NF": "MAILBOX"}
UNITS = {"STORAGE": 1024, "MESSAGE": 1, "ANNOTATION-STORAGE": 1024, "MAILBOX": 1}
#: What Cyrus called two of the resources before 3.10.
FORMER_NAMES = {"X-ANNOTATION-STORAGE": "ANNOTATION-STORAGE", "X-NUM-FOLDERS": "MAILBOX"}

RECORDS: dict[bytes, bytes] = {
    # As Cyrus 2.4 and older wrote them.
    b"user.old": b"2048 10",
    b"user.old^dotted": b"0 0",
    b"user.old-full": b"10241 10",
    b"user.old-exact": b"10240 10",
    b"user.old-none": b"5 -1",
    b"user.old-negative": b"-17 100",
    b"user.old-large": b"1099511627776 2147483647",
    b"user.old.folder": b"77 1",
    # As Cyrus 2.5 and 3.0 write them.
    b"user.mid": b"%(S (1024 10) M (3) AS (0) NF (2))",
    b"user.mid-empty": b"%(S (0) M (0) AS (0) NF (0))",
    b"user.mid-full": b"%(S (999999 10) M (300 299) AS (5000 4) NF (9 8))",
    # As later ones do.
    b"user.new": b"%(S (84123588 102400) M (12) AS (0) NF (1) MODSEQ 5)",
    b"user.new^dotted": b"%(S (1 1) M (2 2) AS (3 3) NF (4 4) MODSEQ 6)",
    b"user.new-full": b"%(S (104857601 102400) M (13 100) AS (0) NF (1) MODSEQ 7)",
    b"user.new-exact": b"%(S (104857600 102400) M (100 100) AS (0) NF (1) MODSEQ 8)",
    b"user.new-none": b"%(S (55) M (55) AS (55) NF (55) MODSEQ 0)",
    b"user.new-zero": b"%(S (0 0) M (0 0) AS (0 0) NF (0 0) MODSEQ 1)",
    b"user.new-over-zero": b"%(S (1 0) M (1 0) AS (1 0) NF (1 0) MODSEQ 2)",
    b"user.new-large": b"%(S (5497558138881 5368709120) M (9000000000 8000000000) AS (0) NF (1))",
    b"user.new-negative": b"%(S (18446744073709551611 10) M (0) AS (0) NF (1) MODSEQ 3)",
    b"user.new.folder": b"%(S (12345 13) M (6) AS (0) NF (3) MODSEQ 4)",
    b"user.new.folder.deep": b"%(S (0 1) M (0) AS (0) NF (1) MODSEQ 9)",
    # Roots that are no user's, and names to stumble over.
    b"user": b"%(S (10 2000000) M (1) AS (0) NF (40) MODSEQ 10)",
    b"shared": b"4096 4",
    b"shared.news": b"%(S (4097 4) M (7) AS (0) NF (1) MODSEQ 11)",
    b"DELETED.user.gone.5F3C2A11": b"%(S (1 4) M (7) AS (0) NF (1) MODSEQ 12)",
    b"user.with space": b"%(S (3 4) M (7) AS (0) NF (1) MODSEQ 13)",
    b"user.123": b"%(S (9 4) M (7) AS (0) NF (1) MODSEQ 14)",
    b"user.UpperCase": b"8 8",
    b"user.zero": b"%(S (9 4) M (7) AS (0) NF (1) MODSEQ 15)",
    b"user.zero+plus": b"%(S (9 4) M (7) AS (0) NF (1) MODSEQ 16)",
    b"user.sent&AOk-": b"%(S (9 4) M (7) AS (0) NF (1) MODSEQ 17)",
    b"user.#hash": b"12 1",
    b"user.-dash": b"13 1",
}


class Case(NamedTuple):
    """A way to keep quotas: a backend, and what more imapd.conf says."""

    backend: str
    options: dict[str, str]


CASES = {
    "quotalegacy": Case("quotalegacy", {}),
    "quotalegacy-fulldirhash": Case("quotalegacy", {"fulldirhash": "yes"}),
    "twoskip": Case("twoskip", {"quota_db": "twoskip"}),
}


@pytest.fixture(scope="module", params=CASES)
def cyrus(request: pytest.FixtureRequest, needs_cyrus: None) -> Iterator[Cyrus]:
    """Cyrus's tools over a database that they made of RECORDS."""
    case = CASES[request.param]
    with Cyrus(case.options) as made:
        made.store(made.lib / "quotas.db", case.backend, RECORDS)
        yield made


def test_list_agrees_with_cyr_dbtool(cyrus: Cyrus) -> None:
    backend = cyrus.options.get("quota_db", "quotalegacy")
    shown = cyrus.run("cyr_dbtool", str(cyrus.lib / "quotas.db"), backend, "show")
    rows = [line.partition(b"\t") for line in shown.splitlines()]
    assert {key: value for key, _, value in rows} == RECORDS
    assert _listed(cyrus) == {key.decode(): _usages(value.decode()) for key, _, value in rows}


def test_list_agrees_with_quota(cyrus: Cyrus) -> None:
    """`quota -J` leaves out a limit that is not above 0, and so does the comparison."""
    report: dict[str, Any] = json.loads(cyrus.run("quota", "-J"))
    said = {root: _said(resources) for root, resources in report.items()}
    listed = {root: _as_quota_says(usages) for root, usages in _listed(cyrus).items()}
    assert listed == said


def _listed(cyrus: Cyrus) -> dict[str, Usages]:
    objects = commands.listed(cyrus.conf)
    assert len({one["root"] for one in objects}) == len(objects)
    assert all(each["exact"] is True for one in objects for each in one["resources"].values())
    return {
        one["root"]: {
            name: (each["used"], each["limit"]) for name, each in one["resources"].items()
        }
        for one in objects
    }


def _usages(value: str) -> Usages:
    """What a canonical value means, told by the spelling alone."""
    found: Usages = dict.fromkeys(UNITS, (0, None))
    if not value.startswith("%"):
        used, limit = value.split(" ")
        found["STORAGE"] = _usage("STORAGE", used, limit)
        return found
    for code, used, limit in re.findall(r"\b(S|M|AS|NF) \((\d+)(?: (\d+))?\)", value):
        found[CODES[code]] = _usage(CODES[code], used, limit or "-1")
    return found


def _usage(resource: str, used: str, limit: str) -> tuple[int, Optional[int]]:
    number = int(used) - (1 << 64 if int(used) >= 1 << 63 else 0)
    return number, None if limit == "-1" else int(limit) * UNITS[resource]


def _said(resources: dict[str, dict[str, int]]) -> Usages:
    return {
        FORMER_NAMES.get(name, name): (each["used"], each.get("limit"))
        for name, each in resources.items()
    }


def _as_quota_says(usages: Usages) -> Usages:
    return {name: (used, limit or None) for name, (used, limit) in usages.items()}
