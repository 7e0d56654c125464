"""cyrusquota notify: who is told, how often, what a letter says, and what a server may answer."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import os
import re
import shlex
import socket
import stat
import threading
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Iterator, Optional, Union

import attrs
import pytest
from click.testing import CliRunner, Result

from cyrusquota import maps
from cyrusquota.cli.main import cyrusquota
from cyrusquota.cyrus.names import Naming, Recipient
from cyrusquota.errors import DeliveryError, MapLocked
from cyrusquota.notify import Post, memory, planned
from cyrusquota.notify.delivery import Fate, Lmtp, Outcome, Sendmail
from cyrusquota.notify.letter import Stationery, Style, sender, template
from cyrusquota.notify.memory import Memory, Why
from cyrusquota.notify.thresholds import FULL, Standing, Standings, Threshold
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.verdicts.evaluator import Verdict
from cyrusquota.verdicts.policies import LMTPD, LMTPD_STRICT, Policy, Reserve
from tests.mailboxes import Mailboxes
from tests.unit.test_architecture import MODULES, imports

HALF, MOST = Threshold.of("50%"), Threshold.of("95%")
THRESHOLDS = (HALF, MOST, FULL)
NOW, DAY = 1_700_000_000, 86_400
REPEAT = 7 * DAY


def test_nothing_but_its_command_imports_it() -> None:
    importers = {
        one.importer
        for module, path in MODULES.items()
        for one in imports(module, path.read_text("utf-8"))
        if f"{one.module}.".startswith("cyrusquota.notify.")
    }
    outside = {name for name in importers if not name.startswith("cyrusquota.notify.")}
    assert outside == {"cyrusquota.cli.notify"}
    assert len([name for name in MODULES if name.startswith("cyrusquota.notify.")]) == 5


# Who has reached what


def standing(
    root: QuotaRoot,
    policy: Policy = LMTPD,
    reserve: Reserve = Reserve(),  # noqa: B008
) -> Standing:
    found = Standings(Naming(virtdomains=False), policy, reserve, maps.exemption(()))
    found.add(Verdict(Recipient("jane"), root, policy.over(root), reserve.near(root)))
    (one,) = found.found
    return one


def of(used: int, limit: Optional[int] = 1000, **others: Usage) -> QuotaRoot:
    return QuotaRoot("user.jane", Usage(used, limit), **others)


@pytest.mark.parametrize(
    ("root", "reached", "about"),
    [
        (of(499), None, Resource.STORAGE),
        (of(500), HALF, Resource.STORAGE),
        (of(949), HALF, Resource.STORAGE),
        (of(950), MOST, Resource.STORAGE),
        (of(1000), MOST, Resource.STORAGE),
        (of(1001), FULL, Resource.STORAGE),
        (of(400, message=Usage(6, 10)), HALF, Resource.MESSAGE),
        (of(400, message=Usage(11, 10)), FULL, Resource.MESSAGE),
        (of(999, mailbox=Usage(3, 2)), FULL, Resource.MAILBOX),
        (of(400, annotation_storage=Usage(0, 0)), None, Resource.STORAGE),
        (of(400, annotation_storage=Usage(1, 0)), FULL, Resource.ANNOTATION_STORAGE),
        (of(-5), None, Resource.STORAGE),
        (of(10**18, None, message=Usage(6, 10)), HALF, Resource.MESSAGE),
    ],
)
def test_the_highest_threshold_counts_of_any_resource(
    root: QuotaRoot, reached: Optional[Threshold], about: Resource
) -> None:
    one = standing(root)
    assert (one.reached(THRESHOLDS), one.resource) == (reached, about)


def test_who_is_full_by_the_policy_or_within_the_reserve_is_full() -> None:
    messages = of(0, message=Usage(10, 10))
    assert standing(messages).reached(THRESHOLDS) == MOST
    assert standing(messages, LMTPD_STRICT).reached(THRESHOLDS) == FULL
    reserve = Reserve({Resource.STORAGE: 200})
    assert standing(of(800), reserve=reserve).reached(THRESHOLDS) == HALF
    assert standing(of(801), reserve=reserve).reached(THRESHOLDS) == FULL


@pytest.mark.parametrize(
    ("used", "below"),
    [
        *((450, {HALF, MOST, FULL}), (451, {MOST, FULL}), (900, {MOST, FULL}), (901, {FULL})),
        *((950, {FULL}), (951, set()), (1001, set())),
    ],
)
def test_a_threshold_counts_again_5_points_below_it(used: int, below: set[Threshold]) -> None:
    one = standing(of(used))
    assert {threshold for threshold in THRESHOLDS if one.is_below(threshold)} == below


def test_with_a_reserve_it_is_5_points_below_that() -> None:
    reserve = Reserve(percents={Resource.STORAGE: 10.0})
    assert standing(of(901), reserve=reserve).is_full
    assert not standing(of(851), reserve=reserve).is_below(FULL)
    assert standing(of(850), reserve=reserve).is_below(FULL)


def test_users_of_a_shared_root_are_counted_and_exempt_users_are_not() -> None:
    found = Standings(Naming(virtdomains=False), LMTPD, Reserve(), maps.exemption(["Abuse"]))
    full, near = QuotaRoot("user", Usage(2, 1)), QuotaRoot("user", Usage(99, 100))
    for user in ("jane", "max", "abuse", "postmaster"):
        found.add(Verdict(Recipient(user), full, (Resource.STORAGE,)))
    found.add(Verdict(Recipient("max"), near, (), (Resource.STORAGE,)))
    assert (found.found, found.shared) == ([], {"user": 2})


# How often


class Server:
    """Takes letters, and keeps them; `answers` has other fates than SENT, by user."""

    def __init__(self, **answers: Fate) -> None:
        self.answers = answers
        self.letters: list[EmailMessage] = []

    def connect(self) -> None:
        """Always possible."""

    def close(self) -> None:
        """Nothing to do."""

    def deliver(self, address: str, letter: bytes) -> Outcome:
        self.letters.append(parsed(letter))
        return Outcome(self.answers.get(address.partition("@")[0], Fate.SENT), "250 ok")


def parsed(letter: bytes) -> EmailMessage:
    text = letter.replace(b"\r\n", b"\n")
    return email.message_from_bytes(text, _class=EmailMessage, policy=email.policy.default)


@attrs.define
class Run:
    """A run with a state file: who is told why."""

    state: Path
    thresholds: tuple[Threshold, ...] = (Threshold.of("80%"), Threshold.of("95%"), FULL)

    def __call__(
        self, now: int, server: Server, most: Optional[int] = None, **used: int
    ) -> list[tuple[str, str, Why]]:
        """Run at `now`; `used` is in tenths of a percent, by user."""
        style = Style.of(None, None, self.thresholds)
        with memory.opened(self.state) as remembered:
            remembered.begin(now, REPEAT)
            found = [
                attrs.evolve(standing(of(tenths)), recipient=Recipient(user))
                for user, tenths in used.items()
            ]
            remembered.forget(found, ())
            plan = planned(found, self.thresholds, remembered, now=now, repeat=REPEAT)
            stationery = Stationery(style, {}, "example.org")
            post = Post(stationery, server, self.thresholds, lambda: now)
            letters = list(post.send(plan.due[:most], remembered))
        return [(due.standing.user, due.threshold.name, due.why) for due, _ in letters]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "state")


def test_one_letter_tells_of_all_thresholds_below(run: Run) -> None:
    server = Server()
    assert run(NOW, server, jane=1010) == [("jane", "full", Why.NEW)]
    assert run(NOW + DAY, server, jane=960) == []
    assert run(NOW + DAY, server, jane=850) == []
    assert run(NOW + REPEAT - 1, server, jane=850) == []
    assert run(NOW + REPEAT, server, jane=850) == [("jane", "80", Why.REPEATED)]
    assert run(NOW + REPEAT, server, jane=960) == [("jane", "95", Why.NEW)]
    assert run(NOW + REPEAT, server, jane=750) == []
    assert run(NOW + REPEAT, server, jane=810) == [("jane", "80", Why.NEW)]


def test_a_user_who_is_gone_is_forgotten(run: Run) -> None:
    server = Server()
    assert run(NOW, server, jane=810) == [("jane", "80", Why.NEW)]
    assert run(NOW, server) == []
    assert run(NOW, server, jane=810) == [("jane", "80", Why.NEW)]


def test_a_letter_that_may_have_arrived_is_sent_again_after_a_minute(run: Run) -> None:
    lost = Server(jane=Fate.UNKNOWN)
    assert run(NOW, lost, jane=810) == [("jane", "80", Why.NEW)]
    assert run(NOW + 59, lost, jane=810) == []
    assert run(NOW + 60, lost, jane=810) == [("jane", "80", Why.UNKNOWN)]
    assert run(NOW + 119, lost, jane=810) == []
    assert run(NOW + 3600, lost, jane=810) == [("jane", "80", Why.UNKNOWN)]
    ids = [(one["Message-ID"], one["Date"]) for one in lost.letters]
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert run(NOW + 7200, lost, jane=960) == [("jane", "95", Why.UNKNOWN)]
    assert lost.letters[-1]["Message-ID"] != ids[0][0]


def test_a_letter_about_less_replaces_one_that_may_have_arrived(run: Run) -> None:
    """Either tells of the lower threshold; if both come, Cyrus drops the second."""
    server = Server(jane=Fate.UNKNOWN)
    run(NOW, server, jane=1010)
    run(NOW + 60, server, jane=960)
    run(NOW + 120, server, jane=1010)
    first, second, third = (one["Message-ID"] for one in server.letters)
    assert first == second
    assert third != second


def test_the_minute_does_not_last_when_the_clock_goes_back(run: Run) -> None:
    server = Server(jane=Fate.UNKNOWN)
    run(NOW, server, jane=810)
    assert run(NOW - DAY, server, jane=810) == [("jane", "80", Why.UNKNOWN)]


def test_a_refused_letter_is_tried_again_as_another_one(run: Run) -> None:
    server = Server(jane=Fate.REFUSED)
    run(NOW, server, jane=810)
    assert run(NOW + 1, server, jane=810) == [("jane", "80", Why.REFUSED)]
    first, second = (one["Message-ID"] for one in server.letters)
    assert first != second


def test_letters_that_are_refused_again_and_again_keep_no_other_from_being_sent(run: Run) -> None:
    server = Server(ann=Fate.REFUSED, bob=Fate.REFUSED)
    used = dict.fromkeys(("ann", "bob", "jane", "max"), 1010)
    sent = [user for at in range(3) for user, *_ in run(NOW + at, server, most=2, **used)]
    assert sent == ["ann", "bob", "jane", "max", "ann", "bob"]


def test_who_is_full_is_told_first(run: Run) -> None:
    told = run(NOW, Server(), ann=810, bob=960, max=1010, jane=1020)
    assert [user for user, *_ in told] == ["jane", "max", "bob", "ann"]


def test_a_clock_that_starts_in_1970_repeats_nothing(run: Run) -> None:
    server = Server()
    run(NOW, server, jane=810)
    for now in (60, NOW + 60, 60, 61, NOW + 120):
        assert run(now, server, jane=810) == []
    assert run(60, server, jane=810, max=810) == [("max", "80", Why.NEW)]
    assert run(NOW + REPEAT, server, jane=810, max=810) == [("jane", "80", Why.REPEATED)]
    assert run(NOW + REPEAT + REPEAT - 1, server, jane=0, max=810) == []
    assert run(NOW + REPEAT + REPEAT, server, max=810) == [("max", "80", Why.REPEATED)]
    assert run(NOW + REPEAT + REPEAT + DAY, server, max=810) == []
    assert run(NOW + REPEAT + REPEAT + REPEAT, server, max=810) == [("max", "80", Why.REPEATED)]


def test_a_clock_that_was_years_ahead_delays_a_letter_by_one_repetition(run: Run) -> None:
    server = Server()
    run(NOW + 3650 * DAY, server, jane=810)
    for now in (NOW, NOW + REPEAT - 1, NOW + REPEAT, NOW + 2 * REPEAT - 1):
        assert run(now, server, jane=810) == []
    assert run(NOW + 2 * REPEAT, server, jane=810) == [("jane", "80", Why.REPEATED)]


def test_other_thresholds_than_before_are_no_problem(run: Run) -> None:
    server = Server()
    run(NOW, server, jane=960)
    assert attrs.evolve(run, thresholds=(FULL,))(NOW, server, jane=960) == []
    assert attrs.evolve(run, thresholds=(MOST, FULL))(NOW, server, jane=960) == []


# The file


def remember(state: Path, now: int = NOW) -> Iterator[Memory]:
    with memory.opened(state) as remembered:
        remembered.begin(now, REPEAT)
        yield remembered


def test_only_its_owner_can_read_the_state(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with memory.opened(tmp_path / "state"):
            assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert os.listdir(tmp_path) == ["state"]


def test_two_runs_exclude_each_other_and_a_trial_disturbs_nobody(tmp_path: Path) -> None:
    with memory.opened(tmp_path / "state"):
        with pytest.raises(MapLocked, match="another run is sending letters"):
            next(remember(tmp_path / "state"))
        with memory.opened(tmp_path / "state", is_trial=True) as trial:
            trial.begin(NOW, REPEAT)
    assert list(remember(tmp_path / "state"))


def test_a_trial_remembers_nothing(tmp_path: Path) -> None:
    with memory.opened(tmp_path / "state", is_trial=True) as trial:
        trial.begin(NOW, REPEAT)
        trial.mark_sent("jane", [FULL])
    assert os.listdir(tmp_path) == []
    for remembered in remember(tmp_path / "state"):
        remembered.mark_sent("max", [FULL])
    before = (tmp_path / "state").read_bytes()
    with memory.opened(tmp_path / "state", is_trial=True) as trial:
        trial.begin(NOW + DAY, REPEAT)
        assert trial.users == {"max"}
        trial.mark_sent("jane", [FULL])
    assert (tmp_path / "state").read_bytes() == before


# The letter


def write(directory: Path, text: Union[str, bytes], name: str = "full") -> str:
    directory.mkdir(exist_ok=True)
    content = text if isinstance(text, bytes) else text.encode()
    (directory / f"{name}.txt").write_bytes(content)
    return str(directory)


def letter(directory: Optional[str], root: QuotaRoot, user: str = "jane") -> EmailMessage:
    one = attrs.evolve(standing(root), recipient=Recipient(user, "example.org"))
    stationery = Stationery(Style.of(None, directory, [FULL]), {})
    raw = stationery.letter(one, FULL, message_id="<id@example.org>", date=NOW)
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) < 80
    assert raw.count(b"\n") == raw.count(b"\r\n")
    return parsed(raw)


def test_a_letter_has_what_programs_have_to_know(tmp_path: Path) -> None:
    found = letter(None, of(2000))
    assert (found["From"], found["To"]) == ("postmaster@example.org", "jane@example.org")
    assert (found["Date"], found["Message-ID"]) == (
        "Tue, 14 Nov 2023 22:13:20 -0000",
        "<id@example.org>",
    )
    assert found["Auto-Submitted"] == "auto-generated"
    assert found.get_content_type() == "text/plain"
    assert found.defects == []


@pytest.mark.parametrize(
    ("root", "text"),
    [
        (of(3 << 20, 2 << 20), "jane jane@example.org 3.0 MiB 2.0 MiB 150% 0 B storage $"),
        (of(0, message=Usage(12, 10)), "jane jane@example.org 12 10 120% 0 messages $"),
        (of(0, mailbox=Usage(3, 2)), "jane jane@example.org 3 2 150% 0 folders $"),
    ],
)
def test_the_variables_of_a_template(root: QuotaRoot, text: str, tmp_path: Path) -> None:
    names = "$user $address $used ${limit} $percent $left $resource $$"
    found = letter(write(tmp_path, f"subject: $percent\n\n{names}\n"), root)
    assert found.get_content() == f"{text}\n"
    assert found["Subject"] == re.findall("[0-9]+%", text)[0]


def test_a_template_may_be_in_any_language(tmp_path: Path) -> None:
    text = "Das Postfach ist voll. Größe: $used. ☂\n" + "Ein langer Absatz. " * 60 + "\n.\n"
    directory = write(
        tmp_path, f"Subject: {'Postfach für ' * 9}\nX-Note: ☂\n\n{text}".encode("utf-8-sig")
    )
    found = letter(directory, of(2048))
    assert found.get_content() == text.replace("$used", "2.0 KiB")
    assert found["Subject"] == ("Postfach für " * 9).strip()
    assert found["X-Note"] == "☂"


def test_a_template_may_have_the_lines_of_windows(tmp_path: Path) -> None:
    found = letter(write(tmp_path, b"Subject: full\r\n\r\none\r\ntwo\r\n"), of(2000))
    assert (found["Subject"], found.get_content()) == ("full", "one\ntwo\n")


@pytest.mark.parametrize("user", ["j.doe", "j..doe", ".jane", "a!b", "jane=x", "{jane}", "x" * 60])
def test_a_letter_is_addressed_to_any_user(user: str) -> None:
    found = letter(None, of(2000), user)
    (address,) = found["To"].addresses
    assert (address.username, address.domain) == (user, "example.org")


@pytest.mark.parametrize("name", ["80", "95", "full"])
def test_the_templates_that_are_shipped_are_good(name: str) -> None:
    found = template(None, name)
    assert [header for header, _ in found.headers] == ["Subject"]
    assert "$address" in found.text
    assert max(map(len, found.text.splitlines())) < 80


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("help@example.org", "help@example.org"),
        ("Mail service <help@example.org>", "Mail service <help@example.org>"),
        ('"Help, please" <help@example.org>', '"Help, please" <help@example.org>'),
        ("<help@example.org>", "help@example.org"),
        ("Jörg Müller <j.m@example.org>", "Jörg Müller <j.m@example.org>"),
    ],
)
def test_a_sender_may_have_a_name(given: str, shown: str) -> None:
    assert str(sender(given)) == shown


def test_the_date_does_not_depend_on_the_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cyrus takes two letters with different dates for two letters (imap/duplicate.c)."""
    before = letter(None, of(2000))["Date"]
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert letter(None, of(2000))["Date"] == before
    finally:
        monkeypatch.undo()
        time.tzset()


# What a server may answer


@contextlib.contextmanager
def lmtpd(*sessions: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """An LMTP server that gives these answers to commands, and a list of what it was told.

    An empty answer ends the connection. It takes one connection for each of the `sessions`.
    """
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        thread = threading.Thread(target=_serve, args=(listening, sessions, said))
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}", said
        finally:
            thread.join()


_GOOD = {"LHLO": "250-x\r\n250-PIPELINING\r\n250 IGNOREQUOTA", "DATA": "354 go"}


def _serve(listening: socket.socket, sessions: tuple[dict[str, str], ...], said: list[str]) -> None:
    for answers in sessions:
        with listening.accept()[0] as client, client.makefile("rwb", buffering=0) as stream:
            stream.write(answers.get("", "220 ready").encode() + b"\r\n")
            is_letter = False
            for line in iter(stream.readline, b""):
                text = line.decode().rstrip("\r\n")
                said.append(text)
                if is_letter and text != ".":
                    continue
                command = text.split(" ")[0].upper()
                answer = {**_GOOD, **answers}.get(command, "250 ok")
                if not answer:
                    break
                stream.write(f"{answer}\r\n".encode())
                is_letter = answer.startswith("354")
                if command == "QUIT":
                    break


def test_the_quota_is_ignored_where_the_server_offers_that() -> None:
    with lmtpd({}, {"LHLO": "250 x"}) as (place, said):
        for _ in range(2):
            lmtp = Lmtp(place)
            for user in ("jane", "max"):
                lmtp.connect()
                outcome = lmtp.deliver(f"{user}@example.org", b"Subject: x\r\n\r\n.full\r\n")
                assert outcome == Outcome(Fate.SENT, "250 ok")
            lmtp.close()
    session = [
        *("mail FROM:<>", "RCPT TO:<jane@example.org> IGNOREQUOTA", "data"),
        *("Subject: x", "", "..full", "."),
    ]
    words = [line for line in said if not line.startswith("lhlo ")]
    again = [line.replace("jane", "max") for line in session]
    plain = [line.replace(" IGNOREQUOTA", "") for line in (*session, *again)]
    assert [line.lower() for line in words] == [
        line.lower() for line in (*session, *again, "quit", *plain, "quit")
    ]


@pytest.mark.parametrize(
    ("answers", "fate", "reply"),
    [
        ({"RCPT": "452 4.2.2 Over quota"}, Fate.REFUSED, "452 4.2.2 Over quota"),
        ({"RCPT": "550-5.1.1 User\r\n550 unknown"}, Fate.REFUSED, "550 5.1.1 User unknown"),
        ({"RCPT": "421 4.3.2 Goodbye", "RSET": ""}, Fate.REFUSED, "421 4.3.2 Goodbye"),
        ({"DATA": "451 4.3.0 No room"}, Fate.REFUSED, "451 4.3.0 No room"),
        ({".": "554 5.6.0 \x1b[31mBad"}, Fate.REFUSED, "554 5.6.0 \\x1b[31mBad"),
        ({"MAIL": ""}, Fate.REFUSED, "Connection unexpectedly closed"),
        ({"RCPT": ""}, Fate.REFUSED, "Connection unexpectedly closed"),
        ({".": ""}, Fate.UNKNOWN, "Connection unexpectedly closed"),
        ({".": f"250 {'x' * 9000}"}, Fate.UNKNOWN, "500 Line too long."),
    ],
)
def test_the_fate_of_a_letter_follows_from_the_answer(
    answers: dict[str, str], fate: Fate, reply: str
) -> None:
    """Whatever it was, the next letter can be delivered, in another session where need be."""
    has_ended = "" in answers.values() or fate is Fate.UNKNOWN
    with lmtpd(answers, *([{}] if has_ended else [])) as (place, _):
        lmtp = Lmtp(place)
        lmtp.connect()
        assert lmtp.deliver("jane@example.org", b"Subject: x\r\n\r\n") == Outcome(fate, reply)
        lmtp.connect()
        answers.clear()
        assert lmtp.deliver("max@example.org", b"Subject: x\r\n\r\n").fate is Fate.SENT
        lmtp.close()


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"": "554 Go away"}, "554 Go away"),
        ({"LHLO": "500 What?"}, "500 What?"),
        ({"LHLO": ""}, "Connection unexpectedly closed"),
        ({"": "HTTP/1.1 400"}, "-1 /1.1 400"),
        ({"MAIL": "430 Authentication required"}, "430 Authentication required"),
    ],
)
def test_a_server_that_takes_no_letters_ends_the_run(answers: dict[str, str], reason: str) -> None:
    with lmtpd(answers) as (place, _):
        lmtp = Lmtp(place)
        with pytest.raises(
            DeliveryError, match=f"^{place}: takes no letters: {re.escape(reason)};"
        ):
            lmtp.connect()
            lmtp.deliver("jane@example.org", b"")


def test_a_letter_that_the_server_did_not_want_is_not_taken_for_sent(run: Run) -> None:
    """Where it takes no letters at all, this one was surely not sent."""

    class Closed(Server):
        def deliver(self, address: str, letter: bytes) -> Outcome:
            raise DeliveryError("430 Authentication required")

    with pytest.raises(DeliveryError):
        run(NOW, Closed(), jane=1010)
    assert run(NOW + 1, Server(), jane=1010) == [("jane", "full", Why.REFUSED)]


def test_an_address_that_is_not_ascii_is_refused_before_it_is_sent(run: Run) -> None:
    server = Server()
    run(NOW, server, jäne=1010)
    assert server.letters == []
    assert run(NOW, server, jäne=1010) == [("jäne", "full", Why.REFUSED)]


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_sendmail_gets_letter_address_and_an_empty_return_path(tmp_path: Path) -> None:
    program = script(
        tmp_path / "sendmail", f'printf "<%s>" "$@" >{tmp_path}/args; cat >{tmp_path}/in'
    )
    raw = b"Subject: x\r\n\r\n.\r\nfull\r\n"
    assert Sendmail(program).deliver("-jane@example.org", raw).fate is Fate.SENT
    assert (tmp_path / "args").read_text() == "<-i><-f><<>><--><-jane@example.org>"
    assert (tmp_path / "in").read_bytes() == raw.replace(b"\r\n", b"\n")


@pytest.mark.parametrize(
    ("text", "fate", "reply"),
    [
        ("exit 0", Fate.SENT, ""),
        ("echo no such user; echo x >&2; exit 67", Fate.REFUSED, "status 67: no such user"),
        ("exit 75", Fate.REFUSED, "status 75"),
        ("kill -9 $$", Fate.UNKNOWN, "status -9"),
    ],
)
def test_the_status_of_sendmail_is_the_fate(
    text: str, fate: Fate, reply: str, tmp_path: Path
) -> None:
    found = Sendmail(script(tmp_path / "sendmail", text)).deliver(
        "jane@example.org", b"x" * 100_000
    )
    assert found.fate is fate
    assert found.reply.endswith(reply)


# The command


CONF = """\
configdirectory: {0}
quota_db: flat
mboxlist_db: flat
partition-default: {0}
"""
FULL_ROW, NEAR_ROW, FINE_ROW = "1025 1", "850 1", "100 1"


@attrs.define
class Host:
    """A mail host in a directory, and the command on it."""

    directory: Path
    options: str = ""

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def rows(self, **rows: str) -> None:
        """Write the quota database, and make an INBOX for each user in it."""
        text = "".join(f"user.{user}\t{row}\n" for user, row in rows.items())
        (self.directory / "quotas.db").write_text(text)
        for user in rows:
            if not (self.directory / "user" / user).exists():
                Mailboxes(self.directory).add(f"user.{user}", f"user.{user}")

    def __call__(self, line: str = "", *, settings: str = "''") -> Result:
        common = f"-C {self.directory}/imapd.conf --state {self.state} --settings {settings}"
        words = shlex.split(f"notify {common} {self.options} {line}")
        return CliRunner().invoke(cyrusquota, words, standalone_mode=False)

    def told(self, line: str = "") -> list[str]:
        """The lines of a dry run."""
        done = self(f"-n {line}")
        assert (done.exception, done.return_value) == (None, 0)
        return [line for line in done.output.splitlines() if "@" in line]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "imapd.conf").write_text(CONF.format(tmp_path))
    (tmp_path / "mailboxes.db").touch()
    program = script(tmp_path / "sendmail", f'cat >>{tmp_path}/sent; echo "$5" >>{tmp_path}/to')
    return Host(tmp_path, f"--domain example.org --sendmail {program}")


def test_a_dry_run_says_who_would_get_which_letter_and_why(host: Host) -> None:
    host.rows(jane=FULL_ROW, max=NEAR_ROW, ann=FINE_ROW)
    done = host("-n")
    assert done.output == (
        "full  jane@example.org  101% of STORAGE, 1.0 KiB of 1.0 KiB: not told yet\n"
        "80%   max@example.org  83% of STORAGE, 850 B of 1.0 KiB: not told yet\n"
        "2 letters would be sent, 0 wait, 0 users told before\n"
    )
    assert not host.state.exists()
    assert not (host.directory / "to").exists()
    assert host("-n --max-letters 1").output.endswith(
        "\n1 letter would be sent, 1 wait, 0 users told before\n"
    )


def test_a_dry_run_for_a_program(host: Host) -> None:
    host.rows(jane=FULL_ROW, max=NEAR_ROW)
    found = json.loads(host("-n --format json --max-letters 1").output)
    jane = {
        "address": "jane@example.org",
        "threshold": "full",
        "why": "new",
        "root": "user.jane",
        "resource": "STORAGE",
        "used": 1025,
        "limit": 1024,
        "waits": False,
    }
    max_ = {
        **jane,
        "address": "max@example.org",
        "threshold": "80",
        "root": "user.max",
        "used": 850,
        "waits": True,
    }
    assert found == {"version": 1, "letters": [jane, max_], "told": 0, "shared_roots": []}


def test_a_run_is_silent_and_the_next_one_has_nothing_to_say(host: Host) -> None:
    host.rows(jane=FULL_ROW, max=NEAR_ROW)
    for _ in range(2):
        done = host()
        assert (done.exception, done.output, done.return_value) == (None, "", 0)
        assert (host.directory / "to").read_text() == "jane@example.org\nmax@example.org\n"
    done = host("-v")
    assert done.output == (
        "cyrusquota: 0 letters sent, 0 refused, 0 perhaps lost, 0 wait, 2 users told before\n"
    )


def test_no_run_sends_more_than_it_may_and_it_says_how_many_wait(host: Host) -> None:
    host.rows(**{f"u{number}": NEAR_ROW for number in range(5)})
    for waiting in ("3 letters of 5", "1 letter of 3", None):
        done = host("--max-letters 2")
        said = f"cyrusquota: {waiting} wait for the next run; --max-letters is 2\n"
        assert (done.return_value, done.output) == (0, said if waiting else "")
    assert sorted((host.directory / "to").read_text().split()) == [
        f"u{number}@example.org" for number in range(5)
    ]


def test_a_refused_letter_is_reported_and_is_the_status(host: Host) -> None:
    host.rows(jane=FULL_ROW, max=NEAR_ROW)
    script(host.directory / "sendmail", "[ $5 = max@example.org ] || { echo no; exit 67; }")
    done = host("-v")
    assert done.return_value == 75
    assert done.output == (
        "cyrusquota: jane@example.org: the letter was refused, and is tried again by the next run:"
        f" {host.directory}/sendmail ended with status 67: no\n"
        "cyrusquota: 1 letter sent, 1 refused, 0 perhaps lost, 0 wait, 0 users told before\n"
    )
    assert [line.partition(": ")[2] for line in host.told()] == ["the last letter was refused"]


def test_users_whose_figures_cannot_be_read_stay_remembered(host: Host) -> None:
    host.rows(jane=FULL_ROW, max=NEAR_ROW)
    host()
    host.rows(jane="broken", max=FINE_ROW)
    done = host()
    assert done.return_value == 0
    assert "user.jane" in done.output
    host.rows(jane=FULL_ROW, max=NEAR_ROW)
    assert [line.split()[1] for line in host.told()] == ["max@example.org"]


def test_all_users_stay_remembered_where_the_database_is_empty(host: Host) -> None:
    host.rows(jane=FULL_ROW)
    host()
    host.rows()
    assert host().output == ""
    host.rows(jane=FULL_ROW)
    assert host.told() == []


def test_all_users_stay_remembered_while_totals_cannot_be_read(host: Host) -> None:
    """Such a problem names no quota root."""
    host.rows(jane=NEAR_ROW, max=FINE_ROW)
    host()
    conf = host.directory / "imapd.conf"
    conf.write_text(conf.read_text() + "quota_use_conversations: yes\n")
    for user in ("jane", "max"):
        totals = host.directory / "user" / user[0] / f"{user}.conversations"
        totals.parent.mkdir(exist_ok=True)
        totals.write_bytes(b"\xa1\x02\x8b\x0dskiplist file\0\0\0")
    done = host()
    assert done.return_value == 0
    assert "jane.conversations" in done.output
    conf.write_text(CONF.format(host.directory))
    assert host.told() == []


def test_exempt_users_and_those_without_an_inbox_are_not_told(host: Host) -> None:
    host.rows(jane=FULL_ROW, max=FULL_ROW, postmaster=FULL_ROW)
    with (host.directory / "quotas.db").open("a") as quotas:
        quotas.write(f"user.gone\t{FULL_ROW}\nuser.max.sub\t{FULL_ROW}\nshared\t{FULL_ROW}\n")
    assert [line.split()[1] for line in host.told("--exempt Max@example.com")] == [
        "jane@example.org",
        "max@example.org",
    ]
    for exempt in ("MAX", "max@EXAMPLE.org"):
        told = host.told(f"--exempt {exempt}")
        assert [line.split()[1] for line in told] == ["jane@example.org"]


def test_users_of_a_full_shared_root_are_not_told_and_the_root_is_named(host: Host) -> None:
    host.rows(jane=FINE_ROW)
    for user in ("max", "ann"):
        Mailboxes(host.directory).add(f"user.{user}", "user")
    with (host.directory / "quotas.db").open("a") as quotas:
        quotas.write(f"user\t{FULL_ROW}\n")
    done = host("-n --format json")
    said, _, printed = done.output.partition("{")
    assert said == (
        "cyrusquota: quota root 'user' is full, and is not a user's own: 2 users below it get no"
        " letter\n"
    )
    found = json.loads("{" + printed)
    assert (found["letters"], found["shared_roots"]) == ([], [{"root": "user", "users": 2}])


def test_the_settings_may_have_another_style_for_a_domain(host: Host, tmp_path: Path) -> None:
    conf = host.directory / "imapd.conf"
    conf.write_text(conf.read_text() + "virtdomains: userid\ndefaultdomain: example.org\n")
    names = ("user.jane", "example.com!user.max")
    (host.directory / "quotas.db").write_text("".join(f"{one}\t{FULL_ROW}\n" for one in names))
    for name in names:
        Mailboxes(host.directory).add(name, name)
    own = write(tmp_path / "own", "Subject: own\n\nown\n")
    given = write(tmp_path / "given", "Subject: given\n\ngiven\n")
    settings = tmp_path / "settings"
    settings.write_text(
        "[notify]\nat = full\nfrom = usual@example.org\nrepeat = 1d\n"
        f"[notify Example.COM]\ntemplates = {own}\nfrom = Own <own@example.com>\n"
    )
    settings.chmod(0o600)

    def sent(options: str = "") -> list[tuple[str, str, str]]:
        host.state.unlink(missing_ok=True)
        (host.directory / "sent").unlink(missing_ok=True)
        done = host(options, settings=str(settings))
        assert (done.exception, done.output) == (None, "")
        found = re.split("(?=^From: )", (host.directory / "sent").read_text(), flags=re.M)[1:]
        letters = [parsed(one.encode()) for one in found]
        return sorted((one["To"], one["From"], one["Subject"]) for one in letters)

    usual = ("jane@example.org", "usual@example.org", "Your mailbox is full")
    assert sent() == [usual, ("max@example.com", "Own <own@example.com>", "own")]
    assert sent(f"--templates {given} --from x@example.org") == [
        ("jane@example.org", "x@example.org", "given"),
        ("max@example.com", "x@example.org", "given"),
    ]
    shown = CliRunner().invoke(cyrusquota, ["settings", "--settings", str(settings), "notify"])
    assert "\n[notify example.com]\n" in shown.output
    assert f"templates = {own} " in shown.output


def test_a_mistake_in_the_style_of_a_domain_is_found_with_its_line(tmp_path: Path) -> None:
    settings = tmp_path / "settings"
    for text, said in (
        ("[notify a.org]\nfrom = nobody\n", "line 2: [notify a.org] from: --from: expected an"),
        ("[notify a.org]\nat = full\n", "line 2: [notify a.org] at: not for one domain"),
        ("[notify ]\n", "line 1: unknown section [notify ]"),
        ("[list a.org]\n", "line 1: unknown section [list a.org]"),
    ):
        settings.write_text(text)
        settings.chmod(0o600)
        words = ["settings", "--check", "--settings", str(settings)]
        done = CliRunner().invoke(cyrusquota, words, standalone_mode=False)
        assert said in str(done.exception)


def test_an_error_in_a_template_is_found_before_anything_is_sent(
    host: Host, tmp_path: Path
) -> None:
    host.rows(jane=NEAR_ROW)
    write(tmp_path / "letters", "Subject: good\n\ngood\n", "80")
    directory = write(tmp_path / "letters", "Subject: bad\n\n$bad\n")
    done = host(f"--at 80% --at full --templates {directory}")
    assert "full.txt, line 3: unknown variable, $bad; " in str(done.exception)
    assert not (host.directory / "to").exists()
    assert not host.state.exists()


def test_the_socket_is_that_of_imapd_conf(host: Host) -> None:
    host.rows(jane=NEAR_ROW)
    host.options = "--domain example.org"
    conf = host.directory / "imapd.conf"
    for option, path in (("", "socket/lmtp"), ("lmtpsocket: {configdirectory}/x/y\n", "x/y")):
        conf.write_text(conf.read_text() + option)
        done = host()
        assert f"{host.directory}/{path}: takes no letters: " in str(done.exception)
    assert [line.partition(": ")[2] for line in host.told()] == ["not told yet"]


def test_letters_reach_a_server_at_a_port(host: Host) -> None:
    host.rows(jane=NEAR_ROW)
    host.options = "--domain example.org"
    with lmtpd({}) as (place, said):
        assert host(f"--lmtp {place}").output == ""
    assert "RCPT TO:<jane@example.org> IGNOREQUOTA" in said
