"""When Exim's daemon last read its configuration, according to logs that are written here.

`tests/integration/test_exim_starts.py` asks the same about a real daemon.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Callable, Optional

import attrs
import pytest

from cyrusquota.errors import EximError
from cyrusquota.mta import daemon
from tests.fake_exim import FakeExim

#: Lines of Exim 4.96.
LINE = "exim 4.96 daemon started: pid=4711, -q30m, listening for SMTP on port 25 (IPv6 and IPv4)\n"
STARTED = f"2026-01-31 12:00:00 {LINE}"
EARLIER = f"2026-01-30 12:00:00 {LINE}"
QUEUE_RUNNER = (
    "2026-02-01 12:00:00 exim 4.96 daemon started: pid=4712, -q30m, not listening for SMTP\n"
)
BY_A_CLIENT = f"2026-02-02 12:00:00 rejected EHLO from [192.0.2.1]: 2026-02-02 12:00:00 {LINE}"
MAIL = "2026-02-03 12:00:00 1vmEyz-00000A-0A Completed\n"
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.fixture
def fake(tmp_path: Path) -> FakeExim:
    return FakeExim(tmp_path / "fake")


def test_the_command_to_try_asks_about_the_same_configuration(fake: FakeExim) -> None:
    exim = attrs.evolve(fake.exim, config="/a b/exim.conf")
    with pytest.raises(EximError, match=r"; try: .*/exim -C '/a b/exim\.conf' -bV$"):
        exim.version()


def _write(fake: FakeExim, name: str, text: str, *, age: float = 0) -> Path:
    """Write a log that is so many days old."""
    path = fake.logs / name
    path.write_text(text)
    then = path.stat().st_mtime - 86400 * age
    os.utime(path, (then, then))
    return path


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (STARTED, NOON),
        (EARLIER + MAIL + STARTED + MAIL, NOON),
        (STARTED + QUEUE_RUNNER, NOON),
        (STARTED + BY_A_CLIENT, NOON),
        # The end of a line that is being written.
        (STARTED + QUEUE_RUNNER[:40], NOON),
        # With the log selectors pid and millisec, and with log_timezone.
        (f"2026-01-31 12:00:00.123 [4711] {LINE}", NOON),
        (f"2026-01-31 13:00:00 +0100 {LINE}", NOON),
        (f"2026-01-31 06:30:00.001 -0530 [4711] {LINE}", NOON),
        ("2026-01-31 12:00:00 exim 4.99-23-g0ab daemon started: pid=1, no queue runs, listening"
         " for SMTP on port 25\n", NOON),
        ("2026-01-31 12:00:00 exim 4.96 daemon started: pid=1, launched with listening socket,"
         " -q30m\n", NOON),
        (MAIL, None),
        (QUEUE_RUNNER, None),
        ("", None),
        ("2026-01-31 12:00:00 pid 4711: SIGHUP received: re-exec daemon\n", None),
        (f"2026-02-31 12:00:00 {LINE}", None),
    ],
)  # fmt: skip
def test_the_last_start_counts(log: str, expected: Optional[datetime], fake: FakeExim) -> None:
    _write(fake, "mainlog", log)
    assert daemon.daemon_start(fake.exim).time == expected


@pytest.mark.parametrize("block", [1, 7, 100, 1000])
@pytest.mark.parametrize("name", ["mainlog", "mainlog.1.gz"])
def test_a_start_is_found_however_the_log_is_cut(
    block: int, name: str, fake: FakeExim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "_BLOCK", block)
    path = _write(fake, name, EARLIER + 20 * MAIL + STARTED + 20 * MAIL)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert daemon.daemon_start(fake.exim).time == NOON


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("mainlog.1", bytes),
        ("mainlog.2.gz", gzip.compress),
        ("mainlog.01.bz2", bz2.compress),
        ("mainlog-20260201.xz", lzma.compress),
        ("mainlog-20260201", bytes),
    ],
)
def test_rotated_logs_are_searched_from_the_newest(
    name: str, pack: Callable[[bytes], bytes], fake: FakeExim
) -> None:
    _write(fake, "mainlog", MAIL)
    path = _write(fake, name, "")
    path.write_bytes(pack((EARLIER + STARTED + MAIL).encode()))
    os.utime(path, (1, 1))
    _write(fake, "mainlog.9", EARLIER)
    os.utime(fake.logs / "mainlog.9", (0, 0))
    assert daemon.daemon_start(fake.exim).time == NOON


@pytest.mark.parametrize("name", ["mainlog.bak", "mainlogger", "rejectlog", "mainlog.1.gz.orig"])
def test_other_files_are_no_logs(name: str, fake: FakeExim) -> None:
    _write(fake, "mainlog", MAIL)
    _write(fake, name, STARTED, age=1)
    assert daemon.daemon_start(fake.exim).time is None


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("mainlog.1.gz", b"not compressed", "mainlog.1.gz: not a gzipped file"),
        ("mainlog.1.xz", b"not compressed", "mainlog.1.xz: "),
        ("mainlog.1.zst", b"\x28\xb5\x2f\xfd", "mainlog.1.zst: cannot be searched"),
        ("mainlog.1.gz", gzip.compress(STARTED.encode())[:-12], "mainlog.1.gz: "),
    ],
)
def test_nothing_is_guessed_from_what_is_behind_an_unreadable_log(
    name: str, content: bytes, why: str, fake: FakeExim
) -> None:
    _write(fake, "mainlog", MAIL)
    path = _write(fake, name, "")
    path.write_bytes(content)
    os.utime(path, (1, 1))
    _write(fake, "mainlog.2", STARTED)
    os.utime(fake.logs / "mainlog.2", (0, 0))
    start = daemon.daemon_start(fake.exim)
    assert start.time is None
    assert why in start.why


@pytest.mark.parametrize("name", ["mainlog", "mainlog.1.gz"])
def test_no_more_is_searched_than_the_limit(
    name: str, fake: FakeExim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "_BLOCK", 1000)
    path = _write(fake, name, STARTED + 200 * MAIL)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert daemon.daemon_start(fake.exim).time == NOON
    monkeypatch.setattr(daemon, "_SEARCHED", 2000)
    assert daemon.daemon_start(fake.exim).time is None


@pytest.mark.parametrize(
    ("path", "log"),
    [
        ("{logs}/%slog", "mainlog"),
        ("{logs}/%slog : syslog", "mainlog"),
        ("syslog : {logs}/%slog", "mainlog"),
        ("syslog:{logs}/exim_%s.log", "exim_main.log"),
        ("{logs}/%slog-%D", "mainlog-20260131"),
        ("{logs}/%M-%s", "202601-main"),
        ("{logs}/a[1]::%s", "a[1]:main"),
        ("{logs}/%D%slog", "20260131mainlog.1"),
    ],
)
def test_log_file_path_names_the_log(path: str, log: str, fake: FakeExim) -> None:
    fake.set("log_file_path", path.format(logs=fake.logs))
    _write(fake, log, STARTED)
    assert daemon.daemon_start(fake.exim).time == NOON


@pytest.mark.parametrize("path", ["", ": syslog", "syslog :"])
@pytest.mark.parametrize("compiled", [None, "", "{logs}/built_%s"])
def test_an_empty_item_is_the_log_that_was_compiled_in_or_that_in_the_spool(
    path: str, compiled: Optional[str], fake: FakeExim
) -> None:
    fake.set("log_file_path", path)
    fake.set("spool_directory", str(fake.directory))
    if compiled is not None:
        fake.set("log_file_path", compiled.format(logs=fake.logs), compiled=True)
    _write(fake, "built_main" if compiled else "mainlog", STARTED)
    assert daemon.daemon_start(fake.exim).time == NOON


def test_of_a_log_in_syslog_alone_nothing_is_known(fake: FakeExim) -> None:
    fake.set("log_file_path", "syslog")
    assert daemon.daemon_start(fake.exim) == daemon.DaemonStart(None, "Exim logs to syslog only")


def test_of_no_log_nothing_is_known(fake: FakeExim) -> None:
    assert daemon.daemon_start(fake.exim).why == f"no log {fake.logs}/mainlog was found"
    (fake.logs / "mainlog").symlink_to("gone")
    assert daemon.daemon_start(fake.exim).why == f"no log {fake.logs}/mainlog was found"
    (fake.logs / "mainlog").unlink()
    (fake.logs / "mainlog").mkdir()
    assert daemon.daemon_start(fake.exim).why == f"{fake.logs}/mainlog: cannot be searched"


@pytest.mark.parametrize(
    ("name", "hour"), [("UTC", 12), ("utc", 12), ("Etc/GMT-2", 10), ("Europe/Berlin", 11)]
)
def test_times_are_those_of_exims_time_zone(name: str, hour: int, fake: FakeExim) -> None:
    pytest.importorskip("zoneinfo")
    fake.set("timezone", name)
    _write(fake, "mainlog", STARTED)
    start = daemon.daemon_start(fake.exim)
    if "not known on this host" in start.why:
        pytest.skip("no time zones here: apt-get install tzdata")
    assert start.time == NOON.replace(hour=hour)


@pytest.mark.parametrize("name", ["CET-1CEST", "../etc/passwd", "Nowhere/Town"])
def test_a_time_zone_that_is_not_known_is_not_guessed(name: str, fake: FakeExim) -> None:
    fake.set("timezone", name)
    _write(fake, "mainlog", STARTED)
    why = f"timezone {name}: not known on this host"
    assert daemon.daemon_start(fake.exim) == daemon.DaemonStart(None, why)


def test_without_a_time_zone_exim_uses_that_of_the_host(
    fake: FakeExim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.set("timezone", "")
    _write(fake, "mainlog", STARTED)
    localtime = tmp_path / "localtime"
    monkeypatch.setattr(daemon, "_LOCALTIME", str(localtime))
    assert daemon.daemon_start(fake.exim).time == NOON
    # Two hours east, in the format of version 1 (RFC 8536): one type, six characters of names.
    localtime.write_bytes(
        b"TZif" + bytes(16) + b"".join(n.to_bytes(4, "big") for n in (0, 0, 0, 0, 1, 4))
        + (7200).to_bytes(4, "big") + b"\0\0" + b"EET\0"
    )  # fmt: skip
    assert daemon.daemon_start(fake.exim).time == NOON - timedelta(hours=2)


def test_the_newest_file_of_the_configuration_counts(fake: FakeExim) -> None:
    included, other = fake.directory / "included.conf", fake.directory / "other.conf"
    for number, path in enumerate((fake.conf, included, other)):
        path.write_text("")
        os.utime(path, (1000 + number, 1000 + number))
    assert daemon.configuration_changed(fake.exim) == datetime.fromtimestamp(1000, timezone.utc)
    fake.show("config", f'# Exim Configuration (4.96)\n# 1 "{fake.conf}"\n# 1 "{included}"\n\n')
    assert daemon.configuration_changed(fake.exim) == datetime.fromtimestamp(1001, timezone.utc)
    fake.show("config", f'# 1 "{fake.conf}"\n# 1 "/gone/since"\n')
    assert daemon.configuration_changed(fake.exim) == datetime.fromtimestamp(1000, timezone.utc)
    fake.conf.unlink()
    assert daemon.configuration_changed(fake.exim) is None


def test_an_exim_that_does_not_answer_is_an_error(fake: FakeExim) -> None:
    (fake.directory / "options" / "log_file_path").unlink()
    with pytest.raises(EximError):
        daemon.daemon_start(fake.exim)
