"""Sites that people really run, one a test: the verdict is what the real lmtpd answers there.

Each test sets a site up, asks lmtpd, and holds the export and `explain` to its answer
(`assert_told`). Values that no Cyrus writes are in test_values.py, each combination of header and
rows in test_headers_beside_lmtpd.py, advice in test_advice.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Iterator

import pytest

from cyrusquota import cyrusdb
from tests.site import Site

from . import commands, exim
from .cyrus import DOMAIN, Cyrus
from .test_follow_process import SOON, Following, directory  # noqa: F401
from .verdicts import FULL, ROOMY, assert_listed, assert_told

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("needs_cyrus")]

#: Seconds within which headers, and totals, are to be read again while following, and some more.
HEADERS_AGAIN, TOTALS_AGAIN = 330, 120
BACKENDS = ("twoskip", "skiplist", "flat", "quotalegacy")


@pytest.fixture(params=["twoskip", "quotalegacy"])
def cyrus(request: pytest.FixtureRequest) -> Iterator[Cyrus]:
    """A plain site, with a quota database in a file or in a tree."""
    with Cyrus({"quota_db": request.param}) as running:
        running.start()
        yield running


def _user(cyrus: Cyrus, user: str, value: bytes = FULL) -> None:
    """A user whose header names their own root, and what the row of it has."""
    cyrus.create_user(user)
    cyrus.set_quota(cyrus.mailbox(user), 1000)
    cyrus.set_rows({f"user.{user}": value})


def _deliver_over(cyrus: Cyrus, user: str) -> None:
    """A user who is over quota by what was delivered to them."""
    cyrus.create_user(user)
    cyrus.set_quota(cyrus.mailbox(user), 1000)
    # 3.6.1 answers 451 where another process of it has a SQLite file locked.
    assert 250 in (cyrus.deliver(user, 5000).code for _ in range(20))
    cyrus.set_quota(cyrus.mailbox(user), 1)


# --- 1. rows that no header names ---


def test_a_row_that_cyr_dbtool_wrote_refuses_nobody_until_quota_f(cyrus: Cyrus) -> None:
    cyrus.create_user("jane")
    cyrus.set_rows({"user.jane": FULL})
    assert_told(cyrus, {"jane": 250})

    # SETQUOTA finds the root there, and leaves the header alone.
    cyrus.set_quota("user.jane", 1)
    cyrus.set_rows({"user.jane": FULL})
    assert_told(cyrus, {"jane": 250})

    cyrus.run("quota", "-f", "user.jane")
    cyrus.set_rows({"user.jane": FULL})
    assert_told(cyrus, {"jane": 452})


def test_a_quota_database_copied_from_elsewhere_refuses_nobody() -> None:
    """As after a move to a new server, where the mailboxes were made anew."""
    with Cyrus({"quota_db": "twoskip"}) as old, Cyrus({"quota_db": "twoskip"}) as new:
        old.set_rows({"user.jane": FULL, "user.joe": FULL})
        new.start()
        new.create("user.jane", "user.joe")
        new.halt()
        shutil.copyfile(old.quotas, new.quotas)
        shutil.chown(new.quotas, "cyrus", "mail")
        new.start()
        assert_told(new, {"jane": 250, "joe": 250})


def test_quota_files_copied_from_elsewhere_refuse_nobody() -> None:
    with Cyrus({"quota_db": "quotalegacy"}) as old, Cyrus({"quota_db": "quotalegacy"}) as new:
        old.set_rows({"user.jane": FULL, "user.joe": FULL})
        new.start()
        new.create("user.jane", "user.joe")
        shutil.copytree(old.lib / "quota", new.lib / "quota", dirs_exist_ok=True)
        for path in (new.lib / "quota", *(new.lib / "quota").rglob("*")):
            shutil.chown(path, "cyrus", "mail")
        assert_told(new, {"jane": 250, "joe": 250})


def test_a_header_restored_from_before_the_quota_makes_its_user_unlimited(cyrus: Cyrus) -> None:
    cyrus.create_user("jane")
    before = cyrus.header("jane").read_bytes()
    index = cyrus.header("jane").with_name("cyrus.index")
    index_before = index.read_bytes()
    cyrus.set_quota("user.jane", 1000)
    cyrus.set_rows({"user.jane": FULL})
    assert_told(cyrus, {"jane": 452})

    # The index has the checksum of the header, so a backup has both.
    cyrus.halt()
    cyrus.header("jane").write_bytes(before)
    index.write_bytes(index_before)
    cyrus.start()
    assert_told(cyrus, {"jane": 250})


def test_a_full_root_above_counts_where_the_header_names_it_whatever_the_own_row(
    cyrus: Cyrus,
) -> None:
    """The reverse: the row of their own has room, and mail is refused all the same."""
    cyrus.set_rows({"user": FULL})
    cyrus.create_user("jane")
    cyrus.set_rows({"user.jane": ROOMY})
    assert_told(cyrus, {"jane": 452})

    cyrus.set_quota("user.jane", 1000)
    assert_told(cyrus, {"jane": 452})

    cyrus.run("quota", "-f", "user.jane")
    cyrus.set_rows({"user": FULL})
    assert_told(cyrus, {"jane": 250})


def test_a_row_deleted_by_hand_leaves_its_user_unlimited(cyrus: Cyrus) -> None:
    """The header names a root that is gone, and no other takes its place."""
    _user(cyrus, "jane")
    cyrus.set_rows({"user": FULL})
    cyrus.delete_rows(["user.jane"])
    assert_told(cyrus, {"jane": 250})


@pytest.mark.parametrize("separator", ["no", "yes"])
@pytest.mark.parametrize("legacy", ["no", "yes"])
def test_headers_are_found_whatever_the_names(legacy: str, separator: str) -> None:
    """Domains and dots in the names of users; directories by name (up to 3.4) or by unique id."""
    options = {"unixhierarchysep": separator, "virtdomains": "userid", "defaultdomain": DOMAIN}
    options.update({"mailbox_legacy_dirs": legacy, "hashimapspool": "yes"})
    dotted = "jane.doe" if separator == "yes" else "jane^doe"
    with Cyrus({"quota_db": "twoskip", **options}) as cyrus:
        cyrus.start()
        for user in (dotted, "max@example.org", "joe"):
            cyrus.create_user(user)
        cyrus.set_quota(cyrus.mailbox("joe"), 1000)
        rows = ("user.jane^doe", "example.org!user.max", "user.joe")
        cyrus.set_rows(dict.fromkeys(rows, FULL))
        assert_told(cyrus, {"jane.doe": 250, "max@example.org": 250, "joe": 452})


def test_rows_can_be_trusted_where_headers_take_too_long(cyrus: Cyrus) -> None:
    cyrus.create_user("jane")
    cyrus.set_rows({"user.jane": FULL})
    assert_listed(cyrus, ["jane"], "--headers", "trust-rows")
    done, _ = commands.mapped("-C", str(cyrus.conf), "--headers", "trust-rows")
    other, _ = commands.mapped("-C", str(cyrus.conf))

    def head(printed: bytes) -> set[bytes]:
        return {line for line in printed.splitlines() if line.startswith(b"#")}

    # The header of the map says which was done.
    assert {line for line in head(done.stdout) - head(other.stdout) if b"since" not in line}


def test_headers_that_begin_to_name_a_full_root_are_followed(
    directory: Path,  # noqa: F811
) -> None:
    """`quota -f` writes headers, and nothing into the quota database that concerns them."""
    with Cyrus({"quota_db": "twoskip"}) as cyrus:
        cyrus.start()
        users = ("ann", "bob", "joe")
        for user in users:
            cyrus.create_user(user)
        cyrus.set_rows({"user": FULL})
        following = Following(cyrus, directory)
        try:
            following.becomes()
            cyrus.run("quota", "-f")
            cyrus.set_rows({"user": FULL})
            assert {cyrus.lmtp_rcpt(f"{user}@{DOMAIN}").code for user in users} == {452}
            assert_listed(cyrus, users)
            following.becomes(*users, seconds=HEADERS_AGAIN)
            assert following.end() == 0
        finally:
            following.close()


# --- 2. databases in SQLite ---

SQL_OPTIONS = [("quota_db",), ("mboxlist_db",), ("quota_db", "mboxlist_db")]


def _sql(*databases: str) -> Cyrus:
    """A site whose sql_database has these."""
    options = {"quota_db": "twoskip", "sql_engine": "sqlite", **dict.fromkeys(databases, "sql")}
    cyrus = Cyrus(options)
    cyrus.configure({"sql_database": str(cyrus.lib / "cyrus.sqlite")})
    return cyrus


@pytest.mark.parametrize("databases", SQL_OPTIONS, ids="+".join)
def test_sql_database_takes_the_place_of_the_files(databases: tuple[str, ...]) -> None:
    with _sql(*databases) as cyrus:
        cyrus.start()
        _deliver_over(cyrus, "jane")
        cyrus.create_user("joe")
        cyrus.set_quota("user.joe", 1000)
        assert_told(cyrus, {"jane": 452, "joe": 250})


def test_a_stale_quotas_db_beside_sql_database_counts_for_nothing() -> None:
    with _sql("quota_db") as cyrus:
        cyrus.store(cyrus.quotas, "twoskip", {b"user.jane": ROOMY, b"user.joe": FULL})
        cyrus.start()
        _deliver_over(cyrus, "jane")
        cyrus.create_user("joe")
        cyrus.set_quota("user.joe", 1000)
        assert_told(cyrus, {"jane": 452, "joe": 250})


CONVERSATIONS = {"conversations": "yes", "quota_use_conversations": "yes"}


def test_conversations_totals_in_sql_database_are_one_for_all_users() -> None:
    """There is one table, and in it one total, to which the mail of every user counts."""
    with _sql("conversations_db") as cyrus:
        cyrus.configure(CONVERSATIONS)
        cyrus.start()
        cyrus.create("user.joe", "user.ann")
        cyrus.set_quota("user.joe", 1)
        cyrus.set_quota("user.ann", 1000)
        assert_told(cyrus, {"joe": 250, "ann": 250})
        _deliver_over(cyrus, "jane")
        assert_told(cyrus, {"jane": 452, "joe": 452, "ann": 250})


def test_conversations_totals_in_a_sqlite_file_for_each_user() -> None:
    """Without sql_database."""
    options = {"conversations_db": "sql", "sql_engine": "sqlite", **CONVERSATIONS}
    with Cyrus({"quota_db": "twoskip", **options}) as cyrus:
        cyrus.start()
        cyrus.create("user.joe")
        cyrus.set_quota("user.joe", 1)
        _deliver_over(cyrus, "jane")
        assert_told(cyrus, {"jane": 452, "joe": 250})


def test_a_file_with_several_tables_is_read_by_db() -> None:
    with _sql("quota_db", "mboxlist_db") as cyrus:
        cyrus.start()
        _deliver_over(cyrus, "jane")
        done, keys = commands.mapped("--db", str(cyrus.lib / "cyrus.sqlite"))
        assert (done.returncode, keys) == (0, {"jane"}), done


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"quota_db": "sql", "sql_engine": "pgsql", "sql_database": "cyrus"},
        {"quota_db": "sql", "sql_engine": "mysql", "sql_database": "cyrus"},
        {"quota_db": "berkeley"},
        {"quota_db": "lmdb"},
        {"quota_db": "zeroskip"},
        {"mboxlist_db": "zeroskip"},
        {"mboxlist_db": "sql", "sql_engine": "pgsql", "sql_database": "cyrus"},
    ],
    ids=lambda options: "-".join(f"{name}-{value}" for name, value in options.items()),
)
def test_a_backend_that_cannot_be_read_ends_with_the_way_to_dump_it(
    options: dict[str, str], stale: bool
) -> None:
    with Cyrus({"quota_db": "twoskip", "mboxlist_db": "twoskip"}) as cyrus:
        for name in ("quotas.db", "mailboxes.db") if stale else ():
            cyrus.store(cyrus.lib / name, "twoskip", {b"user.jane": FULL})
        if not stale and "mboxlist_db" in options:
            cyrus.store(cyrus.quotas, "twoskip", {b"user.jane": FULL})
        cyrus.configure(options)
        done, keys = commands.mapped("-C", str(cyrus.conf))
        assert (done.returncode, keys) == (69, set()), done
        dump = b"ctl_mboxlist -d" if "mboxlist_db" in options else b"cyr_dbtool"
        assert dump in done.stderr


def test_a_zeroskip_directory_is_known_for_what_it_is() -> None:
    with Cyrus({"quota_db": "zeroskip"}) as cyrus:
        cyrus.quotas.mkdir()
        (cyrus.quotas / ".zsdb").write_bytes(b"")
        for words in (("-C", str(cyrus.conf)), ("--db", str(cyrus.quotas))):
            done, keys = commands.mapped(*words)
            assert (done.returncode, keys) == (69, set()), done
            assert b"zeroskip" in done.stderr


# --- 4. lmtp_catchall_mailbox ---


@pytest.fixture
def catchall() -> Iterator[Cyrus]:
    with Cyrus({"quota_db": "twoskip", "lmtp_catchall_mailbox": "lost"}) as running:
        running.start()
        _user(running, "full")
        _user(running, "roomy", ROOMY)
        yield running


def test_while_the_catchall_has_room_nobody_is_refused(catchall: Cyrus) -> None:
    _user(catchall, "lost", ROOMY)
    assert_told(catchall, {"full": 250, "roomy": 250, "lost": 250, "nobody": 250})
    assert catchall.deliver("full", 100).code == 250
    assert len(catchall.sizes("lost")) == 1


def test_explain_says_that_mail_goes_to_the_catchall(catchall: Cyrus) -> None:
    _user(catchall, "lost", ROOMY)
    done = commands.run_tool("explain", "-C", str(catchall.conf), "--no-exim", "full")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"lmtp_catchall_mailbox" in done.stdout
    assert b"lost" in done.stdout


def test_when_the_catchall_is_full_too_the_full_are_refused(catchall: Cyrus) -> None:
    """Unknown recipients as well; a map cannot list those."""
    _user(catchall, "lost")
    assert catchall.lmtp_rcpt(f"nobody@{DOMAIN}").code == 452
    assert_told(catchall, {"full": 452, "roomy": 250, "lost": 452})


def test_a_catchall_that_is_not_there_has_the_full_refused_for_good(catchall: Cyrus) -> None:
    """As unknown users; all the better if the map defers them before."""
    assert catchall.lmtp_rcpt(f"full@{DOMAIN}").code == 550
    assert_listed(catchall, ["full"])


# --- 5. mailbox_maxmessages_email ---


def test_mailbox_maxmessages_email_refuses_after_data_and_explain_knows() -> None:
    with Cyrus({"quota_db": "twoskip", "mailbox_maxmessages_email": "2"}) as cyrus:
        cyrus.start()
        _user(cyrus, "jane", ROOMY)
        _user(cyrus, "joe", ROOMY)
        for _ in range(2):
            assert cyrus.deliver("jane", 100).code == 250
        assert cyrus.lmtp_rcpt(f"jane@{DOMAIN}").code == 250
        assert cyrus.deliver("jane", 100).code == 451
        for user in ("jane", "joe"):
            done = commands.run_tool("explain", "-C", str(cyrus.conf), "--no-exim", user)
            assert (done.returncode, done.stderr) == (0, b"")
            assert b"mailbox_maxmessages_email" in done.stdout
        done = commands.run_tool("doctor", "-C", str(cyrus.conf), "--root", str(cyrus.directory))
        assert b"mailbox_maxmessages_email" in done.stdout


# --- 6. IGNOREQUOTA ---


def test_an_mta_that_ignores_quotas_is_refused_for_two_resources_only() -> None:
    """An entry for one of the other two defers whom Cyrus would not refuse."""
    values = {
        "storage": b"%(S (999999 1) M (0) AS (0) NF (0))",
        "message": b"%(S (0) M (9 1) AS (0) NF (0))",
        "annotations": b"%(S (0) M (0) AS (99999 1) NF (0))",
        "folders": b"%(S (0) M (0) AS (0) NF (9 1))",
    }
    with Cyrus({"quota_db": "twoskip"}) as cyrus:
        cyrus.start()
        for user, value in values.items():
            _user(cyrus, user, value)
        assert_told(cyrus, dict.fromkeys(values, 452))
        codes = {user: cyrus.lmtp_rcpt_ignoring_quota(f"{user}@{DOMAIN}").code for user in values}
    assert codes == {"storage": 250, "message": 250, "annotations": 452, "folders": 452}


_LMTP = r"^cyrus_lmtp:\n(?:  .*\n)+"
TRANSPORTS = {
    "ignore_quota": "driver = lmtp\n  socket = /run/cyrus/socket/lmtp\n  ignore_quota",
    "lmtp_ignore_quota": "driver = smtp\n  protocol = lmtp\n  hosts = 127.0.0.1\n"
    "  allow_localhost\n  lmtp_ignore_quota",
    "deliver -q": "driver = pipe\n  command = /usr/lib/cyrus/bin/deliver -q $local_part",
}


@pytest.fixture
def host(needs_exim: None) -> Iterator[Site]:
    """A mail host whose Exim delivers to Cyrus."""
    with exim.readable_directory() as path:
        made = Site(path)
        made.write_exim()
        yield made


def _doctor(host: Site) -> str:
    words = ["doctor", "-C", str(host.conf), "--exim", str(exim.program())]
    words += ["--exim-config", str(host.exim_conf), "--root", str(host.etc.parent)]
    return commands.run_tool(*words).stdout.decode()


@pytest.mark.parametrize("option", list(TRANSPORTS))
def test_the_doctor_names_a_transport_that_ignores_quotas(host: Site, option: str) -> None:
    assert option not in _doctor(host)
    host.edit_exim(_LMTP, f"cyrus_lmtp:\n  {TRANSPORTS[option]}\n")
    found = _doctor(host)
    assert "exim-bad" not in found, found
    assert option in found
    assert "cyrus_lmtp" in found


# --- 7. the service of lmtpd ---


def _exactly_full(cyrus: Cyrus) -> None:
    """One message of one: over for a strict lmtpd only."""
    cyrus.create_user("jane")
    cyrus.set_quota("user.jane", 1000, messages=1)
    assert cyrus.deliver("jane", 100).code == 250


def test_options_count_under_the_name_that_cyrus_conf_gives_lmtpd() -> None:
    options = {"quota_db": "twoskip", "lmtplocal_lmtp_strict_quota": "yes"}
    with Cyrus(options, service="lmtplocal") as cyrus:
        cyrus.start()
        _exactly_full(cyrus)
        assert_told(cyrus, {"jane": 452})


def test_options_of_a_service_that_is_not_there_do_not_count() -> None:
    options = {"quota_db": "twoskip", "lmtp_lmtp_strict_quota": "yes"}
    with Cyrus(options, service="lmtplocal") as cyrus:
        cyrus.start()
        _exactly_full(cyrus)
        assert_told(cyrus, {"jane": 250})


def test_lmtpd_has_an_imapd_conf_of_its_own() -> None:
    own = {"lmtp_strict_quota": "yes"}
    with Cyrus({"quota_db": "twoskip"}, service="lmtplocal", service_options=own) as cyrus:
        cyrus.start()
        _exactly_full(cyrus)
        assert_told(cyrus, {"jane": 452})


def test_services_that_disagree_are_named_and_one_can_be_chosen() -> None:
    with Cyrus({"quota_db": "twoskip"}) as cyrus:
        cyrus.start()
        shutil.copyfile(cyrus.all_services, cyrus.cyrus_conf)
        _exactly_full(cyrus)
        for strict, listed in ((False, []), (True, ["jane"])):
            (reply,) = cyrus.lmtp_rcpts([f"jane@{DOMAIN}"], strict=strict)
            assert (reply.code == 452) == bool(listed)
            service = "lmtpstrict" if strict else "lmtp"
            assert_listed(cyrus, listed, "--service", service)
        done, _ = commands.mapped("-C", str(cyrus.conf))
        assert done.returncode == 0, done
        assert b"lmtpstrict" in done.stderr


# --- 8. reports from a terminal ---


def _forms(cyrus: Cyrus) -> dict[str, tuple[str, ...]]:
    """The options that take the output of each program."""
    return {
        "--quota-output": ("quota",),
        "--dump": ("cyr_dbtool", str(cyrus.quotas), cyrus.options["quota_db"], "show"),
    }


@pytest.mark.parametrize("form", ["--quota-output", "--dump"])
def test_text_that_came_over_a_terminal_is_read(cyrus: Cyrus, tmp_path: Path, form: str) -> None:
    """With CR LF, as from `ssh -t` or script(1)."""
    _deliver_over(cyrus, "jane")
    printed = cyrus.on_terminal(*_forms(cyrus)[form])
    assert b"\r\n" in printed
    (tmp_path / "printed").write_bytes(printed)
    done, keys = commands.mapped(form, str(tmp_path / "printed"))
    assert (done.returncode, done.stderr, keys) == (0, b"", {"jane"})


def test_json_and_a_list_of_mailboxes_that_came_over_a_terminal_are_read(
    cyrus: Cyrus, tmp_path: Path
) -> None:
    _deliver_over(cyrus, "jane")
    (tmp_path / "json").write_bytes(cyrus.on_terminal("quota", "-J"))
    done, keys = commands.mapped("--quota-output", str(tmp_path / "json"))
    assert (done.returncode, done.stderr, keys) == (0, b"", {"jane"})
    (tmp_path / "list").write_bytes(cyrus.on_terminal("ctl_mboxlist", "-d"))
    assert_listed(cyrus, ["jane"], "--mailboxes", str(tmp_path / "list"))


@pytest.mark.parametrize(
    ("given", "wanted"), [("--dump", "--quota-output"), ("--quota-output", "--dump")]
)
def test_what_belongs_to_the_other_option_is_named(
    cyrus: Cyrus, tmp_path: Path, given: str, wanted: str
) -> None:
    _deliver_over(cyrus, "jane")
    (tmp_path / "printed").write_bytes(cyrus.run(*_forms(cyrus)[wanted]))
    done, keys = commands.mapped(given, str(tmp_path / "printed"))
    assert done.returncode not in (0, 64)
    assert keys == set()
    assert wanted.encode() in done.stderr


# --- 9. imapd.conf ---


def test_directives_and_placeholders_are_caseless() -> None:
    with Cyrus({"quota_db": "twoskip"}) as cyrus:
        include = cyrus.directory / "more.conf"
        include.write_text(
            "quota_db_path: {ConfigDirectory}/limits.db\n"
            "mboxlist_db_path: {CONFIGDIRECTORY}/list.db\n"
        )
        cyrus.configure({"@INCLUDE": str(include)})
        cyrus.start()
        _deliver_over(cyrus, "jane")
        assert {"limits.db", "list.db"} <= {path.name for path in cyrus.lib.iterdir()}
        assert_told(cyrus, {"jane": 452})


# --- 10. names ---


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_user_called_new_is_a_user(backend: str) -> None:
    """In a tree their root is the file `user.NEW`, like the leftovers of a writer."""
    with Cyrus({"quota_db": backend, "lmtp_downcase_rcpt": "no"}) as cyrus:
        cyrus.start()
        _user(cyrus, "NEW")
        _user(cyrus, "jane", ROOMY)
        assert cyrus.lmtp_rcpt(f"NEW@{DOMAIN}").code == 452
        done, keys = commands.mapped("-C", str(cyrus.conf))
        assert (done.returncode, done.stderr) == (0, b"")
        assert {key.lower() for key in keys} == {"new"}


@pytest.mark.parametrize("options", [(), ("--no-mailboxes",)], ids=["", "no-mailboxes"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_in_the_default_domain_are_out_of_reach(
    backend: str, options: tuple[str, ...]
) -> None:
    """Cyrus keeps the users of that domain without it."""
    names = {"virtdomains": "userid", "defaultdomain": DOMAIN}
    with Cyrus({"quota_db": backend, **names}) as cyrus:
        cyrus.start()
        _user(cyrus, "jane", ROOMY)
        cyrus.set_rows({f"{DOMAIN}!user.jane": FULL, f"{DOMAIN}!user.ghost": FULL})
        codes = [reply.code for reply in cyrus.lmtp_rcpts([f"jane@{DOMAIN}", f"ghost@{DOMAIN}"])]
        assert codes == [250, 550]
        assert_listed(cyrus, [], *options)


# --- 11. copies made while Cyrus writes ---


def _copies(before: bytes, after: bytes) -> Iterator[bytes]:
    """What cp can have read of a file, the header before a commit and the rest at some point."""
    for cut in range(64, len(before), 4):
        yield before[:cut] + after[cut:]


@pytest.mark.parametrize("change", ["update", "insert", "delete"])
def test_a_twoskip_copy_made_under_a_writer_reads_as_the_state_before(
    tmp_path: Path, change: str
) -> None:
    """At whatever byte the copying was when the next transaction was committed."""
    copy = tmp_path / "quotas.db"
    with Cyrus({"quota_db": "twoskip"}) as cyrus:
        cyrus.set_rows({f"user.u{number}": ROOMY for number in range(5)})
        cyrus.set_rows({"user.u2": FULL})
        before = cyrus.quotas.read_bytes()
        state = {b"user.u%d" % number: ROOMY for number in range(5)}
        state[b"user.u2"] = FULL
        if change == "delete":
            cyrus.delete_rows(["user.u1"])
        else:
            cyrus.set_rows({"user.u3" if change == "update" else "user.u11": FULL})
        after = cyrus.quotas.read_bytes()
    assert len(after) > len(before)
    for content in _copies(before, after):
        copy.write_bytes(content)
        with cyrusdb.open(copy) as database:
            assert dict(database) == state


def test_a_skiplist_file_that_is_just_being_created_is_empty(tmp_path: Path) -> None:
    with Cyrus({"quota_db": "skiplist"}) as cyrus:
        cyrus.set_rows({"user.jane": FULL})
        header = cyrus.quotas.read_bytes()[:48]
    (tmp_path / "quotas.db").write_bytes(header)
    done, keys = commands.mapped("--db", str(tmp_path / "quotas.db"))
    assert (done.returncode, done.stderr, keys) == (0, b"", set())


# --- 12. following ---


def test_totals_that_change_without_the_quota_database_are_followed(
    directory: Path,  # noqa: F811
) -> None:
    """To flag a message as deleted is to have room again."""
    with Cyrus({"quota_db": "twoskip", **CONVERSATIONS}) as cyrus:
        cyrus.start()
        _deliver_over(cyrus, "jane")
        following = Following(cyrus, directory)
        try:
            following.becomes("jane")
            row = cyrus.row("user.jane")
            cyrus.flag("jane", 1, r"\Deleted")
            assert cyrus.row("user.jane") == row
            assert cyrus.lmtp_rcpt(f"jane@{DOMAIN}").code == 250
            following.becomes(seconds=TOTALS_AGAIN)
            assert following.end() == 0
        finally:
            following.close()


@pytest.mark.parametrize("backend", ["twoskip", "skiplist", "flat"])
def test_a_file_overwritten_in_place_is_followed(
    directory: Path,  # noqa: F811
    backend: str,
) -> None:
    """By cp, with another file of the same generation and size."""
    with Cyrus({"quota_db": backend}) as cyrus, Cyrus({"quota_db": backend}) as other:
        cyrus.set_rows({"user.jane": FULL, "user.joe": ROOMY})
        other.set_rows({"user.jane": ROOMY, "user.joe": FULL})
        # The size of a record is a matter of chance.
        while cyrus.quotas.stat().st_size != other.quotas.stat().st_size:
            other.quotas.unlink()
            other.set_rows({"user.jane": ROOMY, "user.joe": FULL})
        following = Following(cyrus, directory, "--no-mailboxes")
        try:
            following.becomes("jane")
            shutil.copyfile(other.quotas, cyrus.quotas)
            following.becomes("joe", seconds=SOON)
            assert following.end() == 0
        finally:
            following.close()


# --- 13. another database ---


@pytest.mark.parametrize(
    ("name", "option"), [("mailboxes.db", "--mailboxes"), ("annotations.db", "quotas.db")]
)
def test_a_database_of_another_kind_is_refused(cyrus: Cyrus, name: str, option: str) -> None:
    _deliver_over(cyrus, "jane")
    done, keys = commands.mapped("--db", str(cyrus.lib / name))
    assert done.returncode != 0
    assert keys == set()
    assert option in done.stderr.decode()


# --- 16. strict quotas, shared folders ---


def test_with_strict_quotas_the_doctor_points_to_headroom(host: Site) -> None:
    """A strict lmtpd refuses a message that is too large for what is left (SIZE=)."""
    assert "--headroom" not in _doctor(host)
    host.set("lmtp_strict_quota: yes")
    assert "--headroom" in _doctor(host)


@pytest.mark.parametrize("postuser", ["", "shared"])
def test_explain_knows_a_shared_folder_with_a_quota_of_its_own(postuser: str) -> None:
    options = {"postuser": postuser} if postuser else {}
    with Cyrus({"quota_db": "twoskip", **options}) as cyrus:
        cyrus.start()
        cyrus.create("news")
        cyrus.let_anyone_post("news")
        cyrus.set_quota("news", 1000)
        asked = f"{postuser}+news@{DOMAIN}"
        for value, code in ((ROOMY, 250), (FULL, 452)):
            cyrus.set_rows({"news": value})
            assert cyrus.lmtp_rcpt(asked).code == code
            found = commands.explained(cyrus.conf, asked)
            assert found is not None
            assert found["root"] == "news"
            assert found["server"]["reply"][:3] == str(code)


# --- options that touch quotas ---


def test_the_documents_say_what_we_do_about_each_option_of_quotas() -> None:
    """Each that Cyrus itself lists, by its name in the table of docs/policies.md."""
    table = (commands.PROJECT / "docs" / "policies.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    words = ("quota", "maxmessages", "overquota", "catchall")
    with Cyrus() as cyrus:
        listed = cyrus.run("cyr_info", "conf-all").decode().splitlines()
        mine = set(cyrus.options)
    names = {line.partition(":")[0] for line in listed} - mine
    concerned = {name for name in names if any(word in name for word in words)}
    assert {"lmtp_catchall_mailbox", "quotawarn", "mailbox_maxmessages_email"} <= concerned
    missing = {name for name in concerned if not any(f"`{name}`" in row for row in rows)}
    assert missing == set()
