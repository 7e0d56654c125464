"""lmtpd goes by the root that the header of the INBOX names: recorded answers, and what we say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Optional

import pytest

from cyrusquota.cyrus.names import Naming
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.quota import QuotaRoot, Usage
from cyrusquota.site import source
from cyrusquota.verdicts.evaluator import Approximate, Query, Verdict, evaluate_roots
from cyrusquota.verdicts.policies import LMTPD, LMTPD_STRICT, SMMAPD, Policy
from cyrusquota.verdicts.selection import evaluate
from tests.mailboxes import HEADER, Mailboxes

from . import programs

#: What lmtpd and smmapd answered, for each combination of the header and the rows.
ANSWERS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "fixtures" / "headers" / "answers.jsonl")
    .read_text()
    .splitlines()
]
DOMAINS = sorted({answer["address"].partition("@")[2] for answer in ANSWERS})
#: As tests/integration/headers.py has them.
VALUES = {
    "full": b"%(S (2097152 1) M (0) AS (0) NF (1))",
    "roomy": b"%(S (1 1000000) M (0) AS (0) NF (1))",
    "bad": b"garbage",
}
NAMING = Naming(virtdomains=True, defaultdomain="default.example")


def _inbox(address: str) -> str:
    local, _, domain = address.partition("@")
    return f"{domain}!user.{local}"


def _own(answer: dict[str, Any]) -> Optional[str]:
    row: Optional[str] = answer["roots"][_inbox(answer["address"])]
    return row


class _Recorded:
    """The site of the recorded answers, or one domain of it."""

    def __init__(self, directory: Path, answers: list[dict[str, Any]]) -> None:
        mailboxes = Mailboxes(directory)
        rows = {}
        for answer in answers:
            mailboxes.add(_inbox(answer["address"]), answer["header"])
            rows.update({name: row for name, row in answer["roots"].items() if row is not None})
        quotas = directory / "quotas.db"
        quotas.write_bytes(
            b"".join(b"%b\t%b\n" % (name.encode(), VALUES[rows[name]]) for name in sorted(rows))
        )
        self.source = source.from_database(quotas, "flat", NAMING)
        self.site = mailboxes.site()

    def listed(self, policy: Policy, *, trusts_rows: bool = False) -> set[str]:
        query = Query(NAMING, policy, site=self.site, on_problem=_ignore, trusts_rows=trusts_rows)
        return {str(verdict.recipient) for verdict in evaluate(self.source, query).verdicts}


def _ignore(problem: CyrusQuotaError) -> None:
    """Some rows are in bad format."""


@pytest.fixture(params=["all", *DOMAINS])
def answers(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return [answer for answer in ANSWERS if answer["address"].endswith(f"@{request.param}")] or (
        ANSWERS
    )


@pytest.fixture
def recorded(answers: list[dict[str, Any]], tmp_path: Path) -> _Recorded:
    return _Recorded(tmp_path, answers)


@pytest.mark.parametrize("policy", [LMTPD, LMTPD_STRICT])
def test_whom_lmtpd_refused_is_listed(
    answers: list[dict[str, Any]], recorded: _Recorded, policy: Policy
) -> None:
    refused = {answer["address"] for answer in answers if answer["lmtpd"] == 452}
    assert recorded.listed(policy) == refused
    assert refused


def test_whom_smmapd_refused_is_listed_by_its_policy(
    answers: list[dict[str, Any]], recorded: _Recorded
) -> None:
    refused = {answer["address"] for answer in answers if answer["smmapd"] == "TEMP"}
    assert recorded.listed(SMMAPD) == refused


def test_where_rows_are_trusted_no_header_counts_beside_a_row(
    answers: list[dict[str, Any]], recorded: _Recorded
) -> None:
    by_row = {answer["address"] for answer in answers if _own(answer) == "full"}
    by_header = {
        answer["address"] for answer in answers if _own(answer) is None and answer["lmtpd"] == 452
    }
    assert recorded.listed(LMTPD, trusts_rows=True) == by_row | by_header


FULL, ROOMY = Usage(2, 1), Usage(1, 2)


def _evaluated(
    roots: list[QuotaRoot], mailboxes: Mailboxes
) -> tuple[list[Verdict], list[CyrusQuotaError]]:
    problems: list[CyrusQuotaError] = []
    query = Query(Naming(), site=mailboxes.site(), on_problem=problems.append)
    return list(evaluate_roots(roots, query)), problems


@pytest.mark.parametrize(
    ("roots", "listed"),
    [
        ({"user.jane": FULL}, "user.jane"),
        ({"user.jane": FULL, "user": FULL}, "user.jane"),
        ({"user.jane": ROOMY, "user": FULL}, None),
        ({"user.jane": FULL, "user": ROOMY}, "user.jane"),
        ({"user": FULL}, "user"),
        ({"user": ROOMY}, None),
    ],
)
def test_where_no_header_can_be_read_the_nearest_root_decides_and_a_line_says_so(
    tmp_path: Path, roots: dict[str, Usage], listed: Optional[str]
) -> None:
    mailboxes = Mailboxes(tmp_path)
    mailboxes.add_row("user.jane")
    found, problems = _evaluated(
        [QuotaRoot(name, storage=usage) for name, usage in roots.items()], mailboxes
    )
    assert [(verdict.root.name, verdict.is_approximate) for verdict in found] == (
        [] if listed is None else [(listed, True)]
    )
    assert list(map(type, problems)) == ([] if listed is None else [Approximate])


def test_a_header_may_name_the_root_of_somebody_else(tmp_path: Path) -> None:
    """The verdict tells which root it was."""
    mailboxes = Mailboxes(tmp_path)
    mailboxes.add("user.jane", "user.joe")
    mailboxes.add("user.joe", "user.ann")
    mailboxes.add("user.ann", "user.ann")
    roots = [QuotaRoot(f"user.{name}", storage=FULL) for name in ("jane", "joe")]
    found, _ = _evaluated([*roots, QuotaRoot("user.ann", storage=ROOMY)], mailboxes)
    assert [(str(verdict.recipient), verdict.root.name) for verdict in found] == [
        ("jane", "user.joe")
    ]


def test_many_headers_are_read_as_one_is(tmp_path: Path) -> None:
    """Also beside some that cannot be read."""
    mailboxes = Mailboxes(tmp_path)
    inboxes = [f"user.u{number:03d}" for number in range(100)]
    for number, inbox in enumerate(inboxes):
        if number % 10:
            mailboxes.add(inbox, inbox if number % 2 else None)
        else:
            mailboxes.add_row(inbox)
    found, problems = _evaluated([QuotaRoot(inbox, storage=FULL) for inbox in inboxes], mailboxes)
    certain = {verdict.root.name for verdict in found if not verdict.is_approximate}
    assert certain == set(inboxes[1::2])
    assert {verdict.root.name for verdict in found} - certain == set(inboxes[::10])
    assert len(problems) == 10


# The command


@pytest.fixture
def export(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> programs.Program:
    return programs.exporter(capfdbinary, monkeypatch)


def _map_of(printed: str) -> tuple[set[str], set[str]]:
    """The keys of a map, and what its comments say of headers."""
    lines = printed.splitlines()
    comments = {line[2:] for line in lines if line.startswith("# headers")}
    return {line.partition(":")[0] for line in lines if line and line[0] != "#"}, comments


@pytest.mark.parametrize(
    ("options", "listed", "said"),
    [
        ((), {"named"}, {"headers: read"}),
        (("--headers", "read"), {"named"}, {"headers: read"}),
        (("--headers", "trust-rows"), {"named", "unnamed"}, {"headers: trust-rows"}),
        (("--policy", "smmapd"), {"named", "unnamed"}, set()),
        (("--no-mailboxes",), {"named", "unnamed", "ghost"}, set()),
    ],
)
def test_a_map_says_whether_headers_were_read(
    tmp_path: Path,
    export: programs.Program,
    options: tuple[str, ...],
    listed: set[str],
    said: set[str],
) -> None:
    mailboxes = Mailboxes(tmp_path)
    mailboxes.add("user.named", "user.named")
    mailboxes.add("user.unnamed", None)
    mailboxes.site()
    rows = b"".join(b"user.%b\t%b\n" % (name, VALUES["full"]) for name in (b"ghost", b"named"))
    (tmp_path / "quotas.db").write_bytes(rows + b"user.unnamed\t%b\n" % VALUES["full"])
    with (tmp_path / "imapd.conf").open("a") as conf:
        conf.write("quota_db: flat\n")
    done = export("-C", str(tmp_path / "imapd.conf"), *options)
    assert (done.status, done.err) == (0, "")
    assert _map_of(done.out) == (listed, said)


@pytest.mark.parametrize("policy", ["lmtpd", "smmapd"])
def test_what_monitors_counts_the_users_whom_the_daemon_refused(
    answers: list[dict[str, Any]],
    recorded: _Recorded,
    tmp_path: Path,
    policy: str,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (tmp_path / "imapd.conf").open("a") as conf:
        conf.write("quota_db: flat\nvirtdomains: userid\ndefaultdomain: default.example\n")
    metrics = programs.program(capfdbinary, monkeypatch, "metrics", "-C")
    done = metrics(
        str(tmp_path / "imapd.conf"), "--policy", policy, "-q", "--map", str(tmp_path / "map")
    )
    refused = sum(answer[policy] in (452, "TEMP") for answer in answers)
    assert f"\ncyrusquota_refused_users {refused}\n" in done.out


@pytest.mark.parametrize("where", [("-C", "imapd.conf"), ("--mailboxes", "mailboxes.db")])
def test_a_list_of_mailboxes_alone_leads_to_no_headers(
    tmp_path: Path, export: programs.Program, where: tuple[str, str]
) -> None:
    """So the row of a user's own counts then, and nothing is said."""
    mailboxes = Mailboxes(tmp_path)
    mailboxes.add("user.jane", None)
    mailboxes.site()
    (tmp_path / "quotas.db").write_bytes(b"user.jane\t%b\n" % VALUES["full"])
    option, name = where
    done = export("--db", str(tmp_path / "quotas.db"), option, str(tmp_path / name))
    assert (done.status, done.err) == (0, "")
    expected = (set(), "read") if option == "-C" else ({"jane"}, "trust-rows")
    assert _map_of(done.out) == (expected[0], {f"headers: {expected[1]}"})


def test_the_catchall_of_imapd_conf_counts(tmp_path: Path, export: programs.Program) -> None:
    mailboxes = Mailboxes(tmp_path)
    for user in ("jane", "lost^mail"):
        mailboxes.add(f"user.{user}", f"user.{user}")
    mailboxes.site()
    with (tmp_path / "imapd.conf").open("a") as conf:
        conf.write("quota_db: flat\nlmtp_catchall_mailbox: lost.mail\n")
    for catchall, listed in (("roomy", set()), ("full", {"jane", "lost.mail"})):
        rows = b"user.jane\t%b\nuser.lost^mail\t%b\n" % (VALUES["full"], VALUES[catchall])
        (tmp_path / "quotas.db").write_bytes(rows)
        done = export("-C", str(tmp_path / "imapd.conf"))
        assert (done.status, done.err) == (0, "")
        assert _map_of(done.out)[0] == listed


# The catch-all, to which lmtpd delivers what it would refuse

EXACT = b"%(S (1024 1) M (0) AS (0) NF (0))"


def _listed_beside(catchall: Optional[bytes], query: Query, directory: Path) -> list[str]:
    """Whom we list of a full user and some with room, beside the row of the catch-all."""
    rows = {"user.full": VALUES["full"], "user.roomy": VALUES["roomy"], "user.exact": EXACT}
    if catchall is not None:
        rows["user.lost"] = catchall
    quotas = directory / "quotas.db"
    quotas.write_bytes(b"".join(b"%b\t%b\n" % (name.encode(), rows[name]) for name in sorted(rows)))
    read = source.from_database(quotas, "flat")
    everything = [str(one.recipient) for one in evaluate_roots(read.roots(), query)]
    assert [str(one.recipient) for one in evaluate(read, query).verdicts] == everything
    return sorted(everything)


@pytest.mark.parametrize("downcase", [True, False])
@pytest.mark.parametrize(
    ("catchall", "policy", "listed"),
    [
        (VALUES["roomy"], LMTPD, []),
        (EXACT, LMTPD, []),
        (None, LMTPD, []),
        (VALUES["full"], LMTPD, ["full", "lost"]),
        # smmapd knows no catch-all.
        (VALUES["roomy"], SMMAPD, ["full"]),
    ],
)
@pytest.mark.parametrize("has_mailboxes", [True, False])
def test_nobody_is_listed_while_the_catchall_takes_their_mail(
    tmp_path: Path,
    catchall: Optional[bytes],
    policy: Policy,
    listed: list[str],
    downcase: bool,
    has_mailboxes: bool,
) -> None:
    """As lmtpd 3.6.1 answers."""
    mailboxes = Mailboxes(tmp_path)
    for user in ("full", "roomy", "exact", "lost"):
        mailboxes.add(f"user.{user}", None if catchall is None else f"user.{user}")
    if catchall is None:
        mailboxes.header("user.full").write_bytes(HEADER + b"user.full\tid\n")
    site = mailboxes.site() if has_mailboxes else None
    query = Query(Naming(downcase=downcase), policy, site=site, catchall="user.lost")
    assert _listed_beside(catchall, query, tmp_path) == listed


def test_a_catchall_without_an_inbox_takes_no_mail(tmp_path: Path) -> None:
    """lmtpd 3.6.1 refuses it for good then."""
    mailboxes = Mailboxes(tmp_path)
    mailboxes.add("user.full", "user.full")
    query = Query(Naming(), site=mailboxes.site(), catchall="user.lost")
    assert _listed_beside(None, query, tmp_path) == ["full"]


@pytest.mark.parametrize(("header", "listed"), [("user.Lost", ["full"]), (None, [])])
def test_the_catchall_is_full_by_its_header(
    tmp_path: Path, header: Optional[str], listed: list[str]
) -> None:
    """Also where no address leads to it."""
    mailboxes = Mailboxes(tmp_path)
    mailboxes.add("user.full", "user.full")
    mailboxes.add("user.Lost", header)
    roots = [QuotaRoot(name, storage=FULL) for name in ("user.full", "user.Lost")]
    query = Query(Naming(), site=mailboxes.site(), catchall="user.Lost")
    assert [str(verdict.recipient) for verdict in evaluate_roots(roots, query)] == listed
