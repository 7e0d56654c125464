"""Letters reach the users of a real Cyrus: in their own INBOX, full or not, once."""

from __future__ import annotations

import contextlib
import email
import email.policy
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
from email.message import EmailMessage
from pathlib import Path
from typing import Iterator

import pytest

from cyrusquota.verdicts.policies import LMTPD

from . import commands, exim
from .cyrus import DOMAIN, HOST, PATIENCE, Cyrus
from .verdicts import listed

pytestmark = pytest.mark.integration

OPTIONS = {"quota_db": "twoskip", "duplicatesuppression": "yes"}
TOTALS = {"conversations": "yes", "quota_use_conversations": "yes"}
#: The limit of everybody, in KiB; a letter is about half a percent of it.
LIMIT = 200
KIB = 1024


@pytest.fixture(params=[{}, TOTALS], ids=["usage", "totals"])
def cyrus(request: pytest.FixtureRequest, needs_cyrus: None) -> Iterator[Cyrus]:
    with Cyrus({**OPTIONS, **request.param}) as running:
        running.start()
        yield running


@pytest.fixture
def plain_cyrus(needs_cyrus: None) -> Iterator[Cyrus]:
    with Cyrus(OPTIONS) as running:
        running.start()
        yield running


def _words(cyrus: Cyrus, state: Path, *options: str) -> tuple[str, ...]:
    return ("-C", str(cyrus.conf), "--state", str(state), "--domain", DOMAIN, *options)


def notify(cyrus: Cyrus, state: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    return commands.run_tool("notify", *_words(cyrus, state, *options))


def notify_quietly(cyrus: Cyrus, state: Path, *options: str) -> None:
    """All is well, so nothing is printed."""
    done = notify(cyrus, state, *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def letters(cyrus: Cyrus, user: str) -> list[EmailMessage]:
    """The letters in the INBOX of a user."""
    found = [
        email.message_from_bytes(raw, _class=EmailMessage, policy=email.policy.default)
        for raw in cyrus.messages(user)
    ]
    return [letter for letter in found if "Auto-Submitted" in letter]


def subjects(cyrus: Cyrus, user: str) -> list[str]:
    return [letter["Subject"] for letter in letters(cyrus, user)]


def create(cyrus: Cyrus, *users: str) -> None:
    for user in users:
        cyrus.create_user(user)
        cyrus.set_quota(cyrus.mailbox(user), LIMIT)


def use(cyrus: Cyrus, user: str, kib: int) -> None:
    assert cyrus.deliver(user, kib * KIB).code == 250


def test_users_who_fill_up_step_by_step_get_the_right_letters(cyrus: Cyrus, tmp_path: Path) -> None:
    state = tmp_path / "state"
    create(cyrus, "jane", "max", "ann")
    use(cyrus, "jane", 100)
    use(cyrus, "ann", 5)
    notify_quietly(cyrus, state)
    assert subjects(cyrus, "jane") == []

    use(cyrus, "jane", 64)
    notify_quietly(cyrus, state)
    notify_quietly(cyrus, state)
    assert subjects(cyrus, "jane") == ["Your mailbox is 82% full"]

    use(cyrus, "jane", 28)
    use(cyrus, "max", 201)
    notify_quietly(cyrus, state)
    assert subjects(cyrus, "jane")[1:] == ["Your mailbox is almost full: 96%"]
    assert subjects(cyrus, "max") == ["Your mailbox is full"]

    use(cyrus, "jane", 10)
    assert cyrus.lmtp_rcpt(f"jane@{DOMAIN}").code == 452
    notify_quietly(cyrus, state)
    notify_quietly(cyrus, state)
    assert subjects(cyrus, "jane")[2:] == ["Your mailbox is full"]
    assert subjects(cyrus, "max") == ["Your mailbox is full"]

    cyrus.expunge("jane")
    notify_quietly(cyrus, state)
    use(cyrus, "jane", 170)
    notify_quietly(cyrus, state)
    assert subjects(cyrus, "jane") == ["Your mailbox is 85% full"]
    assert subjects(cyrus, "ann") == []


def test_a_letter_provokes_no_answer_and_is_readable(plain_cyrus: Cyrus, tmp_path: Path) -> None:
    templates = tmp_path / "letters"
    templates.mkdir()
    (templates / "full.txt").write_text(
        "Subject: Postfach für $user voll\nReply-To: hilfe@example.net\n\n"
        "$address: $percent of $limit ü\n"
    )
    create(plain_cyrus, "jane")
    use(plain_cyrus, "jane", 201)
    words = ("--at", "full", "--templates", str(templates), "--from", "Jörg <joerg@example.net>")
    notify_quietly(plain_cyrus, tmp_path / "state", *words)
    (letter,) = letters(plain_cyrus, "jane")
    assert letter["Return-Path"] == "<>"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["From"] == "Jörg <joerg@example.net>"
    assert letter["To"] == f"jane@{DOMAIN}"
    assert letter["Subject"] == "Postfach für jane voll"
    assert letter["Reply-To"] == "hilfe@example.net"
    assert letter.get_content().strip() == f"jane@{DOMAIN}: 101% of 200.0 KiB ü"
    (raw,) = (one for one in plain_cyrus.messages("jane") if b"Auto-Submitted" in one)
    assert raw.isascii()


def test_cyrus_takes_letters_for_users_who_are_full_in_two_of_the_resources(
    plain_cyrus: Cyrus, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    for user in ("messages", "folders"):
        plain_cyrus.create_user(user)
    for _ in range(3):
        use(plain_cyrus, "messages", 1)
    plain_cyrus.set_quota("user.messages", messages=2)
    plain_cyrus.set_limit("user.folders", "X-NUM-FOLDERS", 0)
    for _ in range(2):
        done = notify(plain_cyrus, state)
        assert done.returncode == 75
        (line,) = done.stderr.decode().splitlines()
        assert line.startswith(f"cyrusquota: folders@{DOMAIN}: the letter was refused, and is")
        assert "452 4.2.2 Over quota" in line
        assert subjects(plain_cyrus, "messages") == ["Your mailbox is full"]
    plain_cyrus.set_limit("user.folders", "X-NUM-FOLDERS", 1)
    notify_quietly(plain_cyrus, state)
    assert subjects(plain_cyrus, "folders") == ["Your mailbox is almost full: 100%"]


def test_nobody_else_is_told(plain_cyrus: Cyrus, tmp_path: Path) -> None:
    """Also run as a dry run, which prints who would be, and sends nothing."""
    state = tmp_path / "state"
    create(plain_cyrus, "jane", "abuse", "postmaster")
    plain_cyrus.create("user.max")
    plain_cyrus.create("user.max.archive", "shared")
    plain_cyrus.let_anyone_post("shared")
    plain_cyrus.set_quota("shared", 1)
    for user in ("jane", "abuse", "postmaster"):
        use(plain_cyrus, user, 201)
    plain_cyrus.file("max", "archive", 2 * KIB)
    plain_cyrus.set_quota("user.max.archive", 1)
    assert plain_cyrus.deliver(f"+shared@{DOMAIN}", 2 * KIB).code == 250
    full = b"%(S (999999 1) M (0) AS (0) NF (0))"
    plain_cyrus.set_rows({"user": full, "user.gone": full})
    plain_cyrus.create("user.heir")
    assert plain_cyrus.lmtp_rcpt(f"heir@{DOMAIN}").code == 452
    assert {f"heir@{DOMAIN}", f"jane@{DOMAIN}"} <= listed(plain_cyrus, LMTPD)
    for options in (("--dry-run",), ()):
        done = notify(plain_cyrus, state, "--exempt", "abuse", *options)
        assert (done.returncode, done.stdout.count(b"@")) == (0, len(options))
        assert done.stderr.decode() == (
            "cyrusquota: quota root 'user' is full, and is not a user's own: 1 user below it get no"
            " letter\n"
        )
        users = ("jane", "abuse", "postmaster", "max", "heir")
        told = {user for user in users if letters(plain_cyrus, user)}
        assert told == (set() if options else {"jane"})


@pytest.mark.parametrize(
    ("suppression", "is_killed"), [("yes", False), ("yes", True), ("no", False)]
)
def test_cyrus_drops_a_letter_that_is_sent_again(
    suppression: str, is_killed: bool, needs_cyrus: None, tmp_path: Path
) -> None:
    """Without duplicate suppression it comes twice, so it was sent twice."""
    state = tmp_path / "state"
    with Cyrus({**OPTIONS, "duplicatesuppression": suppression}) as cyrus:
        cyrus.start()
        create(cyrus, "jane")
        use(cyrus, "jane", 170)
        if is_killed:
            _be_killed(cyrus, state)
        else:
            _lose_the_answer(cyrus, state)
        assert len(letters(cyrus, "jane")) == 1

        notify_quietly(cyrus, state)
        assert len(letters(cyrus, "jane")) == 1
        with contextlib.closing(sqlite3.connect(state)) as file, file:
            # A minute ago.
            file.execute("UPDATE tried SET time = time - 60")
        notify_quietly(cyrus, state)
        found = letters(cyrus, "jane")
        assert len(found) == (1 if suppression == "yes" else 2)
        assert len({(letter["Message-ID"], letter["Date"]) for letter in found}) == 1
        notify_quietly(cyrus, state)
        assert len(letters(cyrus, "jane")) == len(found)


def _lose_the_answer(cyrus: Cyrus, state: Path) -> None:
    with _Silence(cyrus.lmtp_port) as silence:
        silence.ended.set()
        done = notify(cyrus, state, "--lmtp", silence.place)
    assert (done.returncode, done.stdout) == (75, b"")
    assert done.stderr.startswith(b"cyrusquota: jane@example.net: the letter may be lost, and")


def _be_killed(cyrus: Cyrus, state: Path) -> None:
    with _Silence(cyrus.lmtp_port) as silence:
        words = _words(cyrus, state, "--lmtp", silence.place)
        with commands.started("notify", *words) as process:
            assert silence.arrived.wait(PATIENCE)
            process.kill()
            assert process.wait(PATIENCE) == -signal.SIGKILL
        silence.ended.set()


def test_exim_queues_a_letter_with_an_empty_return_path(
    plain_cyrus: Cyrus, needs_exim: None, tmp_path: Path
) -> None:
    """As /usr/sbin/sendmail of a host with Exim; it has a queue of its own here, and no daemon."""
    with tempfile.TemporaryDirectory(prefix="cq", dir="/tmp") as directory:
        conf = Path(directory, "exim.conf")
        conf.write_text(
            f"spool_directory = {directory}/spool\nlog_file_path = {directory}/log/%slog\n"
            "primary_hostname = mail.example.net\n"
            ".ifdef _OPT_MAIN_KEEP_ENVIRONMENT\nkeep_environment =\n.endif\n"
            "begin acl\nbegin routers\nbegin transports\n"
        )
        conf.chmod(0o644)
        os.chmod(directory, 0o755)
        shutil.chown(directory, exim.user())
        program = Path(directory, "sendmail")
        program.write_text(f'#!/bin/sh\nexec {exim.program()} -C {conf} -odq "$@"\n')
        program.chmod(0o755)
        create(plain_cyrus, "jane")
        use(plain_cyrus, "jane", 170)
        notify_quietly(plain_cyrus, tmp_path / "state", "--sendmail", str(program))
        (queued,) = Path(directory, "spool", "input").rglob("*-H")
        lines = queued.read_text().splitlines()
        assert lines[2] == "<>"
        assert "jane@example.net" in lines
        assert any(line.endswith(" To: jane@example.net") for line in lines)
    assert letters(plain_cyrus, "jane") == []


def test_domains_have_their_own_letters(needs_cyrus: None, tmp_path: Path) -> None:
    templates = tmp_path / "letters"
    templates.mkdir()
    (templates / "full.txt").write_text("Subject: Voll\n\nIhr Postfach ist voll.\n")
    settings = tmp_path / "settings"
    settings.write_text(
        f"[notify]\nat = full\nstate = {tmp_path}/state\n"
        f"[notify example.com]\ntemplates = {templates}\nfrom = hilfe@example.com\n"
    )
    virtual = {"virtdomains": "userid", "defaultdomain": DOMAIN, "unixhierarchysep": "yes"}
    with Cyrus({**OPTIONS, **virtual}) as cyrus:
        cyrus.start()
        users = {"jane": f"jane@{DOMAIN}", "j.doe@example.com": "j.doe@example.com"}
        for user, address in users.items():
            create(cyrus, user)
            use(cyrus, address, 201)
        done = commands.run_tool("notify", "-C", str(cyrus.conf), "--settings", str(settings))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        (usual,), (other,) = (letters(cyrus, user) for user in users)
        assert (usual["Subject"], usual["From"]) == ("Your mailbox is full", f"postmaster@{DOMAIN}")
        assert (other["Subject"], other["From"]) == ("Voll", "hilfe@example.com")
        assert other["To"] == "j.doe@example.com"


class _Silence:
    """A way to lmtpd on which the answer to a letter is lost, and then the connection.

    The letter has `arrived` by then. It is quiet until `ended` is set.
    """

    def __init__(self, lmtp_port: int) -> None:
        self.arrived, self.ended = threading.Event(), threading.Event()
        self._lmtp_port = lmtp_port
        self._listening = socket.create_server((HOST, 0))
        self._listening.settimeout(PATIENCE)
        self.place = f"{HOST}:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._pass_on)

    def __enter__(self) -> _Silence:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listening.close()

    def _pass_on(self) -> None:
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(self._listening.accept()[0])
            server = stack.enter_context(socket.create_connection((HOST, self._lmtp_port)))
            said, answered = (stack.enter_context(one.makefile("rb")) for one in (client, server))
            client.sendall(answered.readline())
            is_letter = False
            for line in said:
                server.sendall(line)
                if is_letter and line != b".\r\n":
                    continue
                answer = answered.readline()
                while answer[3:4] == b"-":
                    client.sendall(answer)
                    answer = answered.readline()
                if is_letter:
                    self.arrived.set()
                    self.ended.wait(PATIENCE)
                    return
                client.sendall(answer)
                is_letter = answer.startswith(b"354 ")
