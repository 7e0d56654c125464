"""`cyrusquota explain` beside the real lmtpd, smmapd and Exim."""

from __future__ import annotations

import json
from typing import Any, Iterator

import pytest

import cyrusquota
from cyrusquota.explain import answers, user
from cyrusquota.site.site import Site
from cyrusquota.verdicts.evaluator import Query
from cyrusquota.verdicts.policies import LMTPD, LMTPD_STRICT, SMMAPD, Policy

from . import commands
from .cyrus import DOMAIN, Cyrus

pytestmark = pytest.mark.integration

FULL = b"%(S (999999 1) M (0) AS (0) NF (0))"
ROOMY = b"%(S (5 100000) M (7 7) AS (0) NF (0))"
UNREADABLE = b"garbage"
BACKENDS = ("twoskip", "quotalegacy")


@pytest.fixture(scope="module", params=BACKENDS)
def cyrus(request: pytest.FixtureRequest, needs_cyrus: None) -> Iterator[Cyrus]:
    options = {"quota_db": request.param, "virtdomains": "userid", "defaultdomain": DOMAIN}
    with Cyrus(options) as running:
        running.start()
        for name in ("early", "own", "jane^doe", "bad", "max@example.org", "Upper"):
            running.create_user(name)
        # Under a root that is there already; their headers name it.
        _store(running, "user", FULL)
        for name in ("late", "gone"):
            running.create_user(name)
        for name in ("own", "gone", "jane^doe", "bad", "max@example.org"):
            running.set_quota(running.mailbox(name), storage_kib=10)
        for root, value in (
            ("user.own", ROOMY),
            ("user.bad", UNREADABLE),
            ("user.jane^doe", FULL),
            ("example.org!user.max", FULL),
            ("user.ghost", FULL),
        ):
            _store(running, root, value)
        path = str(running.lib / "quotas.db")
        running.run("cyr_dbtool", path, request.param, "delete", "user.gone")
        yield running


def _store(cyrus: Cyrus, root: str, value: bytes) -> None:
    cyrus.store(cyrus.lib / "quotas.db", cyrus.options["quota_db"], {root.encode(): value})


ADDRESSES = [
    f"early@{DOMAIN}",
    f"late@{DOMAIN}",
    f"own@{DOMAIN}",
    f"OWN+folder@{DOMAIN}",
    f"gone@{DOMAIN}",
    f"bad@{DOMAIN}",
    f"jane.doe@{DOMAIN}",
    f"Jane.Doe+a+b@{DOMAIN}",
    f"jane^doe@{DOMAIN}",
    f"ghost@{DOMAIN}",
    f"upper@{DOMAIN}",
    "max@example.org",
    f"max@{DOMAIN}",
    "early@example.org",
    f"nobody@{DOMAIN}",
]


def _code(cyrus: Cyrus, asked: str, policy: Policy) -> int:
    """The code of the reply that explain expects of the server."""
    conf = cyrusquota.load(cyrus.conf)
    source = cyrusquota.from_config(conf)
    problems: list[cyrusquota.CyrusQuotaError] = []
    try:
        site = Site.from_config(conf)
        query = Query(source.naming, policy, site=site, on_problem=problems.append)
        found = user.found(asked, source, query)
    except cyrusquota.NoSuchUser:
        return 550
    assert problems == []
    return int(answers.server_answer(found).reply.value[:3])


@pytest.mark.parametrize(("policy", "strict"), [(LMTPD, False), (LMTPD_STRICT, True)])
def test_lmtpd_answers_what_explain_says(cyrus: Cyrus, policy: Policy, strict: bool) -> None:
    replies = [reply.code for reply in cyrus.lmtp_rcpts(ADDRESSES, strict=strict)]
    said = [_code(cyrus, asked, policy) for asked in ADDRESSES]
    assert dict(zip(ADDRESSES, said)) == dict(zip(ADDRESSES, replies))
    assert {250, 451, 452, 550} == set(replies)


def test_smmapd_answers_what_explain_says(cyrus: Cyrus) -> None:
    # Of a folder that is not there smmapd knows nothing, where lmtpd goes by the INBOX.
    asked = [address for address in ADDRESSES if "+" not in address]
    refused = [answer == "TEMP Over quota" for answer in cyrus.smmap(asked)]
    said = [_code(cyrus, address, SMMAPD) == 452 for address in asked]
    assert dict(zip(asked, said)) == dict(zip(asked, refused))


@pytest.mark.parametrize(
    ("asked", "inbox"),
    [
        ("jane.doe", "user.jane^doe"),
        ("user.jane^doe", "user.jane^doe"),
        ("user.jane^doe.Sent", "user.jane^doe"),
        ("user/jane.doe", "user.jane^doe"),
        (f"user/jane.doe@{DOMAIN}", "user.jane^doe"),
        ("example.org!user.max", "example.org!user.max"),
        ("user/max@example.org", "example.org!user.max"),
        ("user.Upper", "user.Upper"),
    ],
)
def test_a_user_can_be_named_in_any_way(cyrus: Cyrus, asked: str, inbox: str) -> None:
    status, found, _ = _explain(cyrus, asked, "--no-exim")
    assert (status, found["inbox"]) == (0, inbox)


def _explain(cyrus: Cyrus, *arguments: str) -> tuple[int, dict[str, Any], str]:
    done = commands.run_tool("explain", "-C", str(cyrus.conf), "--format", "json", *arguments)
    out = done.stdout.decode()
    return done.returncode, json.loads(out) if out else {}, done.stderr.decode()


def test_an_unknown_user_gets_the_nearest_names(cyrus: Cyrus) -> None:
    status, _, err = _explain(cyrus, "--no-exim", f"jan.doe@{DOMAIN}")
    assert status == 67
    assert err == (
        f"cyrusquota: jan.doe@{DOMAIN}: nobody of that name has an INBOX or a quota root here;"
        f" looked for user.jan^doe; did you mean jane.doe@{DOMAIN}?\n"
    )


def test_conversations_totals_and_refusals_for_good(needs_cyrus: None) -> None:
    """A copy counts once in the totals, and twice in the figure of the quota database."""
    options = {
        "quota_db": "twoskip",
        "conversations": "yes",
        "quota_use_conversations": "yes",
        "lmtp_over_quota_perm_failure": "yes",
    }
    with Cyrus(options) as running:
        running.start()
        running.create_user("jane")
        running.set_quota("user.jane", storage_kib=9)
        assert running.deliver("jane", 5000).code == 250
        running.copy("jane", 1, times=1)
        for kib, code in ((9, 250), (4, 552)):
            running.set_quota("user.jane", storage_kib=kib)
            status, found, _ = _explain(running, "jane", "--no-exim")
            storage = found["resources"]["STORAGE"]
            assert (status, storage["used"]) == (0, 2 * storage["enforced"])
            assert running.lmtp_rcpt(f"jane@{DOMAIN}").code == code
            assert found["server"]["reply"][:3] == str(code)
        done = commands.run_tool("explain", "-C", str(running.conf), "--no-exim", "jane")
        assert b"this is the conversations total, the quota database has" in done.stdout


#: Options; the folder as the administrator writes it, in an address, and its root.
SHARED = {
    "dots": ({}, "news.old", "+news.old@example.net", "news.old"),
    "slashes": (
        {"unixhierarchysep": "yes", "postuser": "post"},
        "news/a.b/c",
        "Post+news/a.b/c@example.net",
        "news.a^b.c",
    ),
    "by name, hashed": (
        {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes"},
        "news.old",
        "+news.old@example.net",
        "news.old",
    ),
    "by name, hashed, one level": (
        {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes", "fulldirhash": "yes"},
        "news",
        "+news@example.net",
        "news",
    ),
    "in a domain": (
        {"virtdomains": "userid", "defaultdomain": DOMAIN},
        "news@example.org",
        "+news@example.org",
        "example.org!news",
    ),
}


@pytest.mark.parametrize("case", list(SHARED))
def test_a_shared_folder_is_governed_by_the_root_in_its_header(
    needs_cyrus: None, case: str
) -> None:
    options, folder, asked, root = SHARED[case]
    with Cyrus({"quota_db": "twoskip", **options}) as running:
        running.start()
        parts = folder.partition("@")[0]
        separator = "/" if "/" in parts else "."
        names = parts.split(separator)
        for count in range(1, len(names) + 1):
            above = separator.join(names[:count])
            running.create(above + folder[len(parts) :])
        running.let_anyone_post(folder)
        running.set_quota(folder, 1000)
        for value, code in ((ROOMY, 250), (FULL, 452)):
            _store(running, root, value)
            assert running.lmtp_rcpt(asked).code == code
            status, found, err = _explain(running, asked, "--no-exim")
            assert (status, err) == (0, "")
            assert (found["root"], found["header_root"]) == (root, root)
            assert found["server"]["reply"][:3] == str(code)
        assert found["inbox"] == root


def test_the_mail_of_unknown_users_goes_to_the_catchall(needs_cyrus: None) -> None:
    with Cyrus({"quota_db": "twoskip", "lmtp_catchall_mailbox": "lost"}) as running:
        running.start()
        running.create_user("lost")
        running.set_quota("user.lost", 1000)
        for value, code in ((ROOMY, 250), (FULL, 452)):
            _store(running, "user.lost", value)
            assert running.lmtp_rcpt(f"nobody@{DOMAIN}").code == code
            status, found, _ = _explain(running, f"nobody@{DOMAIN}", "--no-exim")
            assert (status, found["server"]["reply"][:3]) == (0, str(code))
            assert "lost (lmtp_catchall_mailbox)" in found["server"]["why"]


@pytest.mark.parametrize(
    "acl",
    [
        {},
        {"anyone": "p"},
        {"anyone": "lrsp", "-anyone": "p"},
        {"anyone": "l", "anonymous": "p"},
        {"anyone": "lp", "-anonymous": "p"},
        {"joe": "lrsp"},
        {"-anyone": "l"},
    ],
)
def test_who_may_post_to_a_shared_folder_is_known(needs_cyrus: None, acl: dict[str, str]) -> None:
    with Cyrus({"quota_db": "twoskip"}) as running:
        running.start()
        running.create("news")
        running.set_quota("news", 1000)
        running.set_acl("news", acl)
        _store(running, "news", FULL)
        reply = running.lmtp_rcpt(f"+news@{DOMAIN}")
        _, found, _ = _explain(running, f"+news@{DOMAIN}", "--no-exim")
        assert found["server"]["reply"][:3] == str(reply.code)
        enhanced = found["server"]["reply"].split()[1]
        assert enhanced in reply.text


def test_a_folder_with_a_root_of_its_own_is_judged_by_the_inbox(needs_cyrus: None) -> None:
    """And a message for one that is full goes to the INBOX."""
    with Cyrus({"quota_db": "twoskip"}) as running:
        running.start()
        running.create_user("jane")
        running.create("user.jane.Sent")
        running.let_anyone_post("user.jane.Sent")
        for root in ("user.jane", "user.jane.Sent"):
            running.set_quota(root, 1000)
        asked, room = f"jane+Sent@{DOMAIN}", b"%(S (5 100000) M (7) AS (0) NF (0))"
        for inbox, folder, code in ((room, FULL, 250), (FULL, room, 452)):
            _store(running, "user.jane", inbox)
            _store(running, "user.jane.Sent", folder)
            assert running.lmtp_rcpt(asked).code == code
            _, found, _ = _explain(running, asked, "--no-exim")
            assert found["server"]["reply"][:3] == str(code)
            assert (found["folder"], list(found["folders"])) == (
                "user.jane.Sent",
                ["user.jane.Sent"],
            )
        _store(running, "user.jane", room)
        _store(running, "user.jane.Sent", FULL)
        assert running.deliver(asked, 100).code == 250
        assert len(running.sizes("jane")) == 1
        done = commands.run_tool("explain", "-C", str(running.conf), "--no-exim", asked)
        assert b"; it is full, so that mail goes to the INBOX\n" in done.stdout
