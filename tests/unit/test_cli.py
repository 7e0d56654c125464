"""The commands: exit statuses, what they print, and what they leave alone."""

from __future__ import annotations

import gzip
import io
import json
import os
import pkgutil
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import attrs
import click
import pytest

from cyrusquota import __version__, cyrusdb
from cyrusquota.cli.export import export
from cyrusquota.cli.main import cyrusquota
from cyrusquota.cli.run import run
from tests.recorded_fixtures import FIXTURES, TWOSKIP

CHECKOUT = Path(__file__).parents[2]
DB = ("--db", str(TWOSKIP / "quotas.db"))
DAMAGED = ("--db", str(FIXTURES / "crash" / "twoskip" / "cut-half.db"))
BAD_VALUES = ("--db", str(FIXTURES / "badvalues" / "twoskip" / "quotas.db"))
DEFER = ":defer: 4.2.2 The user's mailbox is full. Please try re-sending your e-mail later."


@attrs.frozen
class Done:
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The map on standard output without its comments."""
        return [line for line in self.out.splitlines() if not line.startswith("#")]


Cli = Callable[..., Done]


@pytest.fixture
def cli(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Callable[[click.Command, str, tuple[str, ...], bytes], Done]:
    def call(command: click.Command, name: str, arguments: tuple[str, ...], stdin: bytes) -> Done:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as caught:
            run(command, name, list(arguments))
        out, err = capsysbinary.readouterr()
        assert isinstance(caught.value.code, int)
        return Done(caught.value.code, out.decode("latin-1"), err.decode())

    return call


@pytest.fixture
def export_(cli: Callable[..., Done]) -> Cli:
    """Run cyrusquota-export."""

    def call(*arguments: str, stdin: bytes = b"") -> Done:
        return cli(export, "cyrusquota-export", arguments, stdin)

    return call


@pytest.fixture
def list_(cli: Callable[..., Done]) -> Cli:
    """Run cyrusquota list."""

    def call(*arguments: str, stdin: bytes = b"") -> Done:
        return cli(cyrusquota, "cyrusquota", ("list", *arguments), stdin)

    return call


# cyrusquota-export: what it writes


def test_the_map_goes_to_standard_output(export_: Cli) -> None:
    done = export_("--dump", "-", stdin=b"user.jane\t2000 1\nuser.bob\t5 1\nuser.max\t2000 1\n")
    assert (done.status, done.err) == (0, "")
    assert done.lines == [f"jane: {DEFER}", f"max: {DEFER}"]


def test_the_map_begins_with_what_it_was_made_of(export_: Cli) -> None:
    comments = [line for line in export_(*DB).out.splitlines() if line.startswith("#")]
    assert comments[0] == (
        f"# Written by cyrusquota-export {__version__}; do not edit, the next run replaces it."
    )
    assert comments[1] == f"# source: {DB[1]}"
    assert comments[2] == "# policy: lmtpd"
    assert re.fullmatch(r"# since: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", comments[3])
    assert comments[4:] == ["# roots: 57", "# entries: 21", "# near: 0"]


def test_users_near_their_limit_are_counted_apart(export_: Cli) -> None:
    done = export_(
        "--dump", "-", "--reserve", "10%", stdin=b"user.jane\t2000 1\nuser.bob\t1000 1\n"
    )
    assert done.lines == [f"bob: {DEFER}", f"jane: {DEFER}"]
    assert {"# entries: 2", "# near: 1"} <= set(done.out.splitlines())


@pytest.mark.parametrize(
    ("policy", "keys"), [("lmtpd", []), ("lmtpd-strict", ["jane"]), ("smmapd", ["jane"])]
)
def test_the_policy_may_be_chosen(policy: str, keys: list[str], export_: Cli) -> None:
    done = export_("--dump", "-", "--policy", policy, stdin=b"user.jane\t%(M (5 5))\n")
    assert done.lines == [f"{key}: {DEFER}" for key in keys]


def test_the_configuration_sets_the_policy(export_: Cli, tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text("lmtpunix_lmtp_strict_quota: yes\n")
    arguments = ("--dump", "-", "-C", str(conf), "--no-mailboxes")
    assert export_(*arguments, stdin=b"user.jane\t%(M (5 5))\n").lines == [f"jane: {DEFER}"]


def test_mailboxes_may_be_named(export_: Cli, tmp_path: Path) -> None:
    mailboxes = tmp_path / "mailboxes"
    mailboxes.write_bytes(b"user.jane\t0 default jane\tlrs\t\n")
    done = export_("--dump", "-", "--mailboxes", str(mailboxes), stdin=DOMAINS)
    assert (done.status, done.lines, done.err) == (0, [f"jane: {DEFER}"], "")


def test_mailboxes_that_are_missing_are_66_and_a_way_out(export_: Cli, tmp_path: Path) -> None:
    done = export_("--dump", "-", "--mailboxes", str(tmp_path / "none"), stdin=DOMAINS)
    assert done.status == 66
    assert "--no-mailboxes" in done.err


def test_totals_need_mailboxes(export_: Cli, tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text("configdirectory: /x\nquota_use_conversations: yes\n")
    done = export_("--dump", "-", "-C", str(conf), "--no-mailboxes", stdin=DOMAINS)
    assert done.status == 64
    assert "leave --no-mailboxes out" in done.err


def test_the_recorded_database_lists_those_lmtpd_refused(export_: Cli) -> None:
    keys = {line.partition(": :defer: ")[0] for line in export_(*DB).lines}
    assert {"jane.doe", "over1", "zero1", "max@example.org"} <= keys
    assert not {"jane", "exact", "under1", "zero", "bob", "uppercase", "a+b", '"m\xfcller"'} & keys


def test_silent_when_all_is_well(export_: Cli, tmp_path: Path) -> None:
    """With the mailboxes known, also the users of the full domain root in there are."""
    mailboxes = tmp_path / "mailboxes"
    mailboxes.write_bytes(b"user.jane^doe\t0 default jane.doe\tlrs\t\n")
    arguments = (*DB, "--mailboxes", str(mailboxes), "-o", str(tmp_path / "map"))
    assert export_(*arguments) == Done(0, "", "")
    assert export_(*arguments) == Done(0, "", "")


def test_the_map_is_written_readable_and_then_only_refreshed(export_: Cli, tmp_path: Path) -> None:
    target = tmp_path / "map"
    assert "map written" in export_(*DB, "-v", "-o", str(target)).err
    before = target.stat().st_ino, target.read_bytes()
    assert "map refreshed" in export_(*DB, "-v", "-o", str(target)).err
    assert (target.stat().st_ino, target.read_bytes()) == before
    assert target.stat().st_mode & 0o7777 == 0o644
    assert list(tmp_path.iterdir()) == [target]


def test_the_mode_may_be_chosen(export_: Cli, tmp_path: Path) -> None:
    assert export_(*DB, "-o", str(tmp_path / "map"), "--mode", "0640").status == 0
    assert (tmp_path / "map").stat().st_mode & 0o7777 == 0o640


def test_verbose_tells_the_numbers(export_: Cli) -> None:
    done = export_(*BAD_VALUES, "-q", "-v")
    assert done.err == (
        f"cyrusquota-export: 2 quota roots read from {BAD_VALUES[1]}, 1 entry, 4 problems\n"
    )


def test_the_message_may_be_chosen(export_: Cli) -> None:
    done = export_("--dump", "-", "--message", "452 4.2.2 full", stdin=b"user.jane\t2000 1\n")
    assert done.lines == ["jane: :defer: 452 4.2.2 full"]


DOMAINS = b"user.jane\t2000 1\nexample.org!user.max\t2000 1\nexample.net!user.max\t2000 1\n"


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        ((), ["jane", "max@example.net", "max@example.org"]),
        (("--key", "auto"), ["jane", "max@example.net", "max@example.org"]),
        (("--key", "local"), ["jane", "max"]),
        (("--exempt", "jane"), ["max@example.net", "max@example.org"]),
        (("--exempt", "max@example.net", "--exempt", "JANE"), ["max@example.org"]),
    ],
)
def test_keys_and_exemptions(arguments: tuple[str, ...], keys: list[str], export_: Cli) -> None:
    done = export_("--dump", "-", *arguments, stdin=DOMAINS)
    assert (done.status, done.lines) == (0, [f"{key}: {DEFER}" for key in keys])


def test_naming_follows_the_configuration_given_beside_the_data(
    export_: Cli, tmp_path: Path
) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text("virtdomains: on\ndefaultdomain: example.com\n")
    arguments = ("--dump", "-", "-C", str(conf), "--no-mailboxes", "--key", "address")
    done = export_(*arguments, stdin=DOMAINS)
    assert done.lines == [
        f"{key}: {DEFER}" for key in ("jane@example.com", "max@example.net", "max@example.org")
    ]


def test_without_configuration_an_address_may_not_be_known(export_: Cli) -> None:
    done = export_("--dump", "-", "--key", "address", stdin=DOMAINS)
    assert (done.status, done.out) == (64, "")


def test_reports_are_read_from_standard_input(export_: Cli) -> None:
    text = b'{"user/jane": {"STORAGE": {"used": 2, "limit": 1}}, "user/bob": {}}'
    assert export_("--quota-output", "-", stdin=text).lines == [f"jane: {DEFER}"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--dump", str(TWOSKIP / "text" / "cyr_dbtool-show.txt")),
        ("--quota-output", str(TWOSKIP / "text" / "quota.txt")),
    ],
)
def test_dumps_and_reports_are_read_from_files(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cyrusquota.cli.export", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    )
    assert b"\njane.doe: :defer: " in done.stdout
    assert done.stderr.count(b"\n") <= 1


def test_imapd_conf_is_followed(export_: Cli, tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text(f"configdirectory: /x\nquota_db: twoskip\nquota_db_path: {DB[1]}\n")
    found = export_("-C", str(conf), "--no-mailboxes")
    assert found.status == 0
    assert f"jane.doe: {DEFER}" in found.lines
    # Without virtdomains lmtpd does not look at domains.
    assert not [line for line in found.lines if "@" in line.partition(":")[0]]


# cyrusquota-export: problems and exit statuses


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--no-such-option",), 64),
        (("extra",), 64),
        ((*DB, "--quota-output", "-"), 64),
        (("--dump", "-", "--quota-output", "-"), 64),
        (("--backend", "twoskip"), 64),
        ((*DB, "--backend", "nonsense"), 64),
        ((*DB, "--key", "nonsense"), 64),
        ((*DB, "--message", ""), 64),
        ((*DB, "--message", "552 5.2.2 full"), 64),
        ((*DB, "--mode", "rw"), 64),
        ((*DB, "--mode", "1777"), 64),
        (DAMAGED, 65),
        (("--quota-output", "-"), 65),
        (("--db", "/no/such/quotas.db"), 66),
        (("--dump", "/no/such/dump"), 66),
        (("--quota-output", "/no/such/report"), 66),
        (("-C", "/no/such/imapd.conf"), 78),
    ],
)
def test_exit_statuses(arguments: tuple[str, ...], status: int, export_: Cli) -> None:
    done = export_(*arguments)
    assert done.status == status
    assert done.out == ""
    assert done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("text", [b"user.jane\t2000 1", b"user.jane\t2000 1\nbob\t5"])
def test_a_dump_that_breaks_off_is_65(text: bytes, export_: Cli) -> None:
    done = export_("--dump", "-", stdin=text)
    assert (done.status, done.out) == (65, "")


def test_a_source_of_another_format_is_69(export_: Cli, tmp_path: Path) -> None:
    (tmp_path / "quotas.db").write_bytes(b"\0" * 12 + b"\x00\x05\x31\x62")
    assert export_("--db", str(tmp_path / "quotas.db")).status == 69


def test_a_directory_in_place_of_the_map_is_73(export_: Cli, tmp_path: Path) -> None:
    assert export_(*DB, "-o", str(tmp_path)).status == 73


def test_a_missing_directory_for_the_map_is_73(export_: Cli, tmp_path: Path) -> None:
    assert export_(*DB, "-o", str(tmp_path / "gone" / "map")).status == 73


def test_a_full_disk_is_74(export_: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert export_(*DB, "-o", str(tmp_path / "map")).status == 74
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "command",
    [
        ["cyrusquota.cli.export", *DB],
        ["cyrusquota.cli.export", *DB, "--dry-run"],
        ["cyrusquota.cli", "list", *DB],
        ["cyrusquota.cli", "metrics", *DB],
        ["cyrusquota.cli", "report", *DB],
        ["cyrusquota.cli", "--help"],
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_that_is_full_is_74(command: list[str], unbuffered: str) -> None:
    with open("/dev/full", "wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 74
    assert b"No space left on device" in done.stderr.splitlines()[-1]


#: Programs that have something to say on standard error, with their exit status.
TALKATIVE = [
    (f"cyrusquota.cli.export --db {BAD_VALUES[1]} -v", 0),
    (f"cyrusquota.cli.export --db {BAD_VALUES[1]} --dry-run", 0),
    (f"cyrusquota.cli.export --db {DAMAGED[1]}", 65),
    ("cyrusquota.cli.export --no-such-option", 64),
    ("cyrusquota.cli.export --db /no/such/quotas.db", 66),
    (f"cyrusquota.cli list --db {BAD_VALUES[1]}", 0),
    (f"cyrusquota.cli report --db {BAD_VALUES[1]}", 0),
    (f"cyrusquota.cli metrics --db {BAD_VALUES[1]}", 0),
    (f"cyrusquota.cli check --no-map --db {BAD_VALUES[1]} -w problems=9", 0),
    (f"cyrusquota.cli explain --no-exim --db {BAD_VALUES[1]} good", 0),
    (f"cyrusquota.cli explain --no-exim --db {BAD_VALUES[1]} nobody", 67),
    ("cyrusquota.cli nonsense", 64),
]


def _shell(line: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        f"exec {sys.executable} -m {line}",
        shell=True,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        check=False,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("redirection", ["2>/dev/full", "<&- 2>&-"])
@pytest.mark.parametrize(("line", "status"), TALKATIVE)
def test_standard_error_that_cannot_be_written_changes_no_status(
    line: str, status: int, redirection: str, tmp_path: Path
) -> None:
    done = _shell(f"{line} {redirection}", tmp_path)
    assert (done.returncode, done.stderr) == (status, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_a_map_is_written_without_standard_error(redirection: str, tmp_path: Path) -> None:
    done = _shell(f"cyrusquota.cli.export {' '.join(BAD_VALUES)} -v -o map {redirection}", tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert f"\ngood: {DEFER}\n" in (tmp_path / "map").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_a_service_goes_on_without_standard_error(redirection: str, tmp_path: Path) -> None:
    """It has a bad record to report; then it lists a user, and still ends when it is told to."""
    quotas, target = tmp_path / "quotas.db", tmp_path / "map"
    quotas.write_text("user.bad\tgarbage\nuser.good\t9000 1\n")
    program = f"exec {sys.executable} -m cyrusquota.cli.export"
    options = f"--db {quotas} --backend flat -o {target} --follow -v"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    service = subprocess.Popen(f"{program} {options} {redirection}", shell=True, env=environment)
    try:
        _wait_for(service, lambda: target.exists() and f"good: {DEFER}" in target.read_text())
        quotas.write_text("user.bad\tother garbage\nuser.jane\t9000 1\n")
        _wait_for(service, lambda: f"jane: {DEFER}" in target.read_text())
        service.terminate()
        assert service.wait(60) == 0
    finally:
        service.kill()
        service.wait()


def _wait_for(service: subprocess.Popen[bytes], is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert service.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"cyrusquota.cli.export --db {DB[1]}", 74),
        (f"cyrusquota.cli.export --db {DB[1]} -o map", 0),
        (f"cyrusquota.cli list --db {DB[1]}", 74),
        (f"cyrusquota.cli report --db {DB[1]}", 74),
        (f"cyrusquota.cli metrics --db {DB[1]}", 74),
        (f"cyrusquota.cli check --db {DB[1]}", 3),
        (f"cyrusquota.cli explain --no-exim --db {DB[1]} jane.doe", 74),
        ("cyrusquota.cli --help", 74),
    ],
)
def test_standard_output_that_is_closed_is_74(line: str, status: int, tmp_path: Path) -> None:
    done = _shell(f"{line} >&-", tmp_path)
    assert done.returncode == status
    assert done.stderr.endswith(b"Bad file descriptor\n") == (status == 74)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--dump", "--quota-output"])
def test_standard_input_that_is_closed_is_66(option: str, tmp_path: Path) -> None:
    done = _shell(f"cyrusquota.cli.export {option} - <&-", tmp_path)
    assert (done.returncode, done.stderr.count(b"\n")) == (66, 1)
    assert b"standard input is closed" in done.stderr


def test_a_forbidden_source_is_77(export_: Cli, tmp_path: Path, as_ordinary_user: None) -> None:
    assert export_("--db", str(tmp_path / "forbidden")).status == 77
    assert export_("--dump", str(tmp_path / "forbidden")).status == 77


def test_a_forbidden_map_is_77(export_: Cli, tmp_path: Path, as_ordinary_user: None) -> None:
    dump = b"user.jane\t2000 1\n"
    assert export_("--dump", "-", "-o", str(tmp_path / "map"), stdin=dump).status == 77


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("virtdomains on\n", "line 1"),
        ("virtdomains: on\n", "configdirectory"),
        ("configdirectory: /x\nquota_db: nonsense\n", "quota_db"),
        ("configdirectory: /x\nvirtdomains: nonsense\n", "virtdomains"),
        ("configdirectory: /x\nfulldirhash: Q\n", "fulldirhash"),
    ],
)
def test_a_configuration_that_cannot_be_followed_is_78(
    text: str, said: str, export_: Cli, tmp_path: Path
) -> None:
    (tmp_path / "imapd.conf").write_text(text)
    done = export_("-C", str(tmp_path / "imapd.conf"))
    assert (done.status, done.out) == (78, "")
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        DAMAGED,
        ("--db", "/no/such/quotas.db"),
        ("--quota-output", "-"),
        (*DB, "--message", ""),
        (*DB, "--owner", "no-such-user"),
        (*DB, "--no-such-option"),
    ],
)
def test_with_any_other_status_the_map_is_untouched(
    arguments: tuple[str, ...], export_: Cli, tmp_path: Path
) -> None:
    target = tmp_path / "map"
    target.write_bytes(b"old: :defer: old\n")
    before = target.stat()
    assert export_(*arguments, "-o", str(target)).status != 0
    assert target.read_bytes() == b"old: :defer: old\n"
    assert (target.stat().st_mtime_ns, target.stat().st_ino) == (
        before.st_mtime_ns,
        before.st_ino,
    )
    assert list(tmp_path.iterdir()) == [target]


def test_an_internal_error_is_70_and_changes_nothing(
    export_: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cyrusquota.maps.entries", broken)
    done = export_(*DB, "-o", str(tmp_path / "map"))
    assert done.status == 70
    assert done.err.splitlines()[-1].startswith("cyrusquota-export: internal error")
    assert list(tmp_path.iterdir()) == []


def test_single_bad_records_are_named_and_the_rest_is_listed(export_: Cli) -> None:
    done = export_(*BAD_VALUES)
    assert (done.status, done.lines) == (0, [f"good: {DEFER}"])
    said = done.err.splitlines()
    assert len(said) == 4
    assert all(line.startswith(f"cyrusquota-export: {BAD_VALUES[1]}, ") for line in said)
    names = ("user.bad", "user.bad2", "user.bad3", "user.trunc")
    assert all(f"'{name}'" in line for name, line in zip(names, said))


def test_quiet_says_nothing_of_single_records(export_: Cli) -> None:
    assert export_(*BAD_VALUES, "-q").err == ""


@pytest.mark.parametrize(("bad", "lines", "last"), [(20, 20, None), (23, 21, "3 more problems")])
def test_at_most_twenty_problems_are_told_one_by_one(
    bad: int, lines: int, last: str, export_: Cli
) -> None:
    dump = b"".join(b"user.u%d\tgarbage\n" % n for n in range(bad)) + b"user.jane\t2000 1\n"
    done = export_("--dump", "-", stdin=dump)
    said = done.err.splitlines()
    assert (done.status, len(said), done.lines) == (0, lines, [f"jane: {DEFER}"])
    assert last is None or last in said[-1]


def test_a_source_that_is_damaged_as_a_whole_gets_one_line(export_: Cli) -> None:
    dump = b"user.max\tgarbage\n" * 30 + b"user.jane\t2000 1\nuser.b"
    done = export_("--dump", "-", stdin=dump)
    assert (done.status, done.out, done.err.count("\n")) == (65, "", 1)
    assert "the dump was not kept whole" in done.err


def test_a_source_of_bad_records_alone_is_65(export_: Cli, tmp_path: Path) -> None:
    target = tmp_path / "map"
    done = export_("--dump", "-", "-o", str(target), stdin=b"user.jane\tgarbage\n")
    assert done.status == 65
    assert not target.exists()


TEXT = TWOSKIP / "text"
#: What is given in place of the right file, the status, and what the one line says.
WRONG_FILES = [
    ("--db directory", 66, "expected a directory that holds quota/ or domain/"),
    ("--db passwd", 65, "expected a database of Cyrus, found 'root:x:0:0:root:/root:/bin/bash'"),
    ("--db binary", 65, "expected a database of Cyrus, found '\\x7fELF"),
    (f"--db {TEXT}/quota.txt", 65, "prints; give it with --quota-output"),
    (f"--db {TEXT}/quota.json", 65, "prints with --quota-output"),
    ("--dump directory", 66, "directory: a directory; name the file that is in it"),
    ("--dump passwd", 65, "not one record of it can be read"),
    ("--dump binary", 65, "this is no text; a database itself is given with --db"),
    ("--dump dump.gz", 65, "this is a compressed file; decompress it first"),
    ("--quota-output dump.gz", 65, "this is a compressed file; decompress it first"),
    ("--db dump.gz", 65, "this is a compressed file; decompress it first"),
    (f"--dump {DB[1]}", 65, "this is a database itself; give its path with --db"),
    (f"--dump {TEXT}/quota.txt", 65, "prints; give it with --quota-output"),
    (f"--dump {TEXT}/quota.json", 65, "prints with --quota-output"),
    ("--quota-output directory", 66, "directory: a directory; name the file that is in it"),
    ("--quota-output passwd", 65, "passwd, line 1: expected "),
    ("--quota-output binary", 65, "this is no text; a database itself is given with --db"),
    (f"--quota-output {DB[1]}", 65, "this is a database itself; give its path"),
    (f"--quota-output {TEXT}/cyr_dbtool-show.txt", 65, "give it with --dump"),
    (f"--db {DB[1]} --mailboxes directory", 66, "name the mailboxes.db that is in it"),
    (f"--db {DB[1]} --mailboxes passwd", 65, "expected a list of mailboxes, found 'root:x:"),
    (f"--db {DB[1]} --mailboxes binary", 65, "expected a list of mailboxes, found '\\x7fELF"),
    ("-C directory", 78, "Is a directory"),
    ("-C passwd", 78, "expected the option configdirectory"),
    ("-C binary", 78, "expected 'option: value', found '\\x7fELF"),
]


@pytest.mark.parametrize(("options", "status", "text"), WRONG_FILES)
def test_a_file_that_is_not_what_it_should_be_gets_one_line(
    options: str,
    status: int,
    text: str,
    export_: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("directory").mkdir()
    users = ("root:x:0:0:root:/root:/bin/bash", *(f"u{n}:x:{n}::/:/bin/sh" for n in range(1, 30)))
    Path("passwd").write_text("".join(f"{line}\n" for line in users))
    Path("dump.gz").write_bytes(gzip.compress(b"user.jane\t2000 1\n"))
    Path("binary").write_bytes(b"\x7fELF\x02\x01\x01\0\0\0\n\x01\t\x02\n" * 100)
    done = export_(*options.split(), "-o", "map")
    assert (done.status, done.out, done.err.count("\n")) == (status, "", 1)
    assert text in done.err
    assert not Path("map").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"user.jane\t2000 1\n",
        b"user.j\xff\t2000 1\n",
        b"damaged first line\nuser.jane\t2000 1\n",
    ],
)
def test_a_flat_database_is_taken_for_one(content: bytes, export_: Cli, tmp_path: Path) -> None:
    (tmp_path / "quotas.db").write_bytes(content)
    assert "expected a database of Cyrus" not in export_("--db", str(tmp_path / "quotas.db")).err


@pytest.mark.parametrize("backend", ["twoskip", "flat", "quotalegacy"])
def test_a_cyrus_that_was_never_started_is_named_as_that(
    backend: str, export_: Cli, list_: Cli, tmp_path: Path
) -> None:
    """Debian's package makes the directories of a quotalegacy tree before."""
    (tmp_path / "quota").mkdir()
    conf = tmp_path / "imapd.conf"
    conf.write_text(f"configdirectory: {tmp_path}\nquota_db: {backend}\n")
    for done in (export_("-C", str(conf)), list_("-C", str(conf))):
        assert (done.status, done.out, done.err.count("\n")) == (66, "", 1)
        assert f": {tmp_path}/mailboxes.db: no such file; Cyrus has never been" in done.err
    (tmp_path / "mailboxes.db").write_bytes(b"")
    assert "never been started" not in export_("-C", str(conf)).err


def test_without_mailboxes_nothing_is_said_of_a_start(export_: Cli, tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text(f"configdirectory: {tmp_path}\nquota_db: twoskip\n")
    assert "started" not in export_("-C", str(conf), "--no-mailboxes").err
    (tmp_path / "quotas.db").write_bytes((TWOSKIP / "quotas.db").read_bytes())
    done = export_("-C", str(conf))
    assert (done.status, "started" in done.err) == (66, False)


def test_a_source_without_roots_is_an_empty_map(export_: Cli) -> None:
    done = export_("--quota-output", "-", stdin=b"{}")
    assert (done.status, done.lines, done.err) == (0, [], "")


def test_warnings_about_the_configuration_are_told(export_: Cli, tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text("virtdomains: on\nvirtdomains: off\n")
    done = export_("--dump", "-", "-C", str(conf), "--no-mailboxes", stdin=DOMAINS)
    assert (done.status, done.lines) == (0, [f"jane: {DEFER}"])
    assert "option virtdomains was set in" in done.err


def test_a_warning_makes_no_damage_of_an_empty_source(export_: Cli, tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text("virtdomains: on\nvirtdomains: off\n")
    done = export_("--quota-output", "-", "-C", str(conf), "--no-mailboxes", stdin=b"{}")
    assert (done.status, done.lines, done.err.count("\n")) == (0, [], 1)


def test_a_dry_run_tells_what_would_change_and_writes_nothing(export_: Cli, tmp_path: Path) -> None:
    target = tmp_path / "map"
    target.write_text(f"# old\njane: {DEFER}\nold: {DEFER}\n")
    before = target.read_bytes(), target.stat().st_mtime_ns
    dump = b"user.jane\t2000 1\nuser.max\t2000 1\n"
    done = export_("--dump", "-", "-n", "-o", str(target), stdin=dump)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"+ max: {DEFER}",
        f"- old: {DEFER}",
        "1 entry would be added, 1 removed, 1 kept",
    ]
    assert (target.read_bytes(), target.stat().st_mtime_ns) == before
    assert list(tmp_path.iterdir()) == [target]


def test_a_dry_run_needs_no_map(export_: Cli, tmp_path: Path) -> None:
    dump = b"user.jane\t2000 1\n"
    for arguments in ((), ("-o", str(tmp_path / "map"))):
        done = export_("--dump", "-", "--dry-run", *arguments, stdin=dump)
        assert done.out.splitlines()[-1] == "1 entry would be added, 0 removed, 0 kept"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["-h", "--help", "--version"])
def test_help_and_version(option: str, export_: Cli) -> None:
    done = export_(option)
    assert (done.status, done.err) == (0, "")
    assert done.out


def test_error_lines_are_one_line_whatever_they_quote(export_: Cli, tmp_path: Path) -> None:
    done = export_("--db", str(tmp_path / "a\nb\x1b\udcff"))
    assert done.status == 66
    assert done.err.count("\n") == 1
    assert "a\\nb\\x1b\\xff" in done.err


# cyrusquota list


def test_list_prints_an_object_a_root_in_the_order_of_the_source(list_: Cli) -> None:
    dump = (
        b"user.jane\t%(S (84123588 102400) M (12) AS (0) NF (3 4))\n"
        b"example.org!user.max\t5 0\nuser.m\xfcller\t5 -1\nuser.caf\xc3\xa9\t0 1\n"
    )
    done = list_("--dump", "-", "--format", "jsonl", stdin=dump)
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == (
        '{"root": "user.jane", "address": "jane", "resources": {'
        '"STORAGE": {"used": 84123588, "limit": 104857600, "exact": true}, '
        '"MESSAGE": {"used": 12, "limit": null, "exact": true}, '
        '"ANNOTATION-STORAGE": {"used": 0, "limit": null, "exact": true}, '
        '"MAILBOX": {"used": 3, "limit": 4, "exact": true}}, "over": [], "near": []}'
    )
    assert [json.loads(line)["root"] for line in lines] == [
        "user.jane",
        "example.org!user.max",
        "user.m\udcfcller",
        "user.caf\u00e9",
    ]
    assert json.loads(lines[1])["resources"]["STORAGE"]["limit"] == 0
    assert '"user.m\\udcfcller"' in lines[2]
    assert all(ord(char) < 128 for char in done.out)


def test_list_says_where_usage_was_cut_to_kib(list_: Cli) -> None:
    report = (TWOSKIP / "text" / "quota.txt").read_bytes()
    done = list_("--quota-output", "-", "--format", "jsonl", stdin=report)
    resources = json.loads(done.out.splitlines()[0])["resources"]
    assert resources["STORAGE"]["exact"] is False
    assert resources["MESSAGE"]["exact"] is True


def test_list_gives_every_root(list_: Cli) -> None:
    assert len(list_(*DB, "--format", "jsonl").out.splitlines()) == 57


def test_list_names_bad_records(list_: Cli) -> None:
    done = list_(*BAD_VALUES, "--format", "jsonl")
    assert (done.status, len(done.out.splitlines()), len(done.err.splitlines())) == (0, 2, 4)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(("--format", "xml", *DB), 64), (DAMAGED, 65), (("--db", "/no/such/quotas.db"), 66)],
)
def test_list_has_the_same_exit_statuses(
    arguments: tuple[str, ...], status: int, list_: Cli
) -> None:
    assert list_(*arguments).status == status


def test_a_reader_that_stops_early_is_no_crash() -> None:
    done = subprocess.run(
        f"{sys.executable} -m cyrusquota.cli list --db {DB[1]} | head -n 1",
        shell=True,
        cwd=CHECKOUT,
        capture_output=True,
        check=False,
    )
    assert done.stdout.count(b"\n") == 1
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_the_script_of_a_checkout_runs() -> None:
    script = CHECKOUT / "bin" / "cyrusquota-export"
    done = subprocess.run([sys.executable, script, "--version"], capture_output=True, check=True)
    assert done.stdout == f"cyrusquota-export, version {__version__}\n".encode()


def test_before_the_rights_are_given_up_all_is_imported() -> None:
    """Where xxhash lies, say, the user who reads the databases may not be able to look."""
    program = (
        "import sys; from cyrusquota.cli.options import import_all; import_all();"
        " print(*sorted(sys.modules))"
    )
    run = [sys.executable, "-c", program]
    loaded = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()
    assert {"xxhash", "ctypes", "cyrusquota.site.site", "cyrusquota.maps.cdb"} < set(loaded)
    for module in pkgutil.walk_packages(cyrusdb.__path__, "cyrusquota.cyrusdb."):
        assert module.name in loaded
