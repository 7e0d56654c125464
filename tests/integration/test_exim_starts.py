"""When a real Exim daemon last read its configuration, from the log that it wrote itself."""

from __future__ import annotations

import gzip
import os
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Iterator

import pytest

from cyrusquota.mta import daemon
from cyrusquota.mta.exim import Exim

from . import exim
from .exim_daemon import Daemon
from .smtp import PATIENCE

pytestmark = pytest.mark.integration

SECOND = timedelta(seconds=1)


@pytest.fixture
def running(needs_exim: None, overquota: Path) -> Iterator[Daemon]:
    with Daemon(overquota) as running:
        yield running


def _exim(running: Daemon) -> Exim:
    return Exim(exim.program() or "", str(running.conf))


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def test_a_start_and_a_reload_are_told_to_the_second(running: Daemon) -> None:
    asked = _exim(running)
    started = daemon.daemon_start(asked).time
    assert started is not None
    assert abs(_now() - started) < timedelta(minutes=1)
    while _now() <= started:
        time.sleep(0.05)
    before = _now()
    running.reload()
    reloaded = daemon.daemon_start(asked).time
    assert reloaded is not None
    assert started < before <= reloaded <= _now()


@pytest.mark.parametrize(
    "option",
    [
        "log_selector = +pid +millisec",
        "log_timezone\ntimezone = Asia/Kathmandu",
        "timezone = America/St_Johns",
        "timezone = UTC",
    ],
)
def test_the_time_is_understood_in_every_form(option: str, running: Daemon) -> None:
    text = running.conf.read_text()
    running.conf.write_text(text.replace("log_selector = -host_lookup_failed", option))
    before = _now()
    running.reload()
    reloaded = daemon.daemon_start(_exim(running)).time
    assert reloaded is not None, running.log()
    assert before <= reloaded <= _now()


def test_a_file_that_is_included_is_a_part_of_the_configuration(running: Daemon) -> None:
    asked, started = _exim(running), daemon.daemon_start(_exim(running)).time
    changed = daemon.configuration_changed(asked)
    assert started is not None
    assert changed is not None
    assert changed <= started + SECOND
    included = running.directory / "included.conf"
    included.write_text("OTHER = x\n")
    text = running.conf.read_text()
    running.conf.write_text(f"MACRO = {included}\n.include MACRO\n{text}")
    for path, age in ((running.conf, 0), (included, 3600)):
        then = time.time() + age
        os.utime(path, (then, then))
    changed = daemon.configuration_changed(asked)
    assert changed is not None
    assert changed > started + timedelta(minutes=30)


def test_a_start_is_found_in_a_rotated_log(running: Daemon) -> None:
    started = daemon.daemon_start(_exim(running)).time
    log = running.directory / "log" / "mainlog"
    packed = log.with_name("mainlog.2.gz")
    packed.write_bytes(gzip.compress(log.read_bytes()))
    os.utime(packed, (1, 1))
    log.unlink()
    assert daemon.daemon_start(_exim(running)).time == started is not None
    running.reload()
    log.rename(log.with_name("mainlog.1"))
    reloaded = daemon.daemon_start(_exim(running)).time
    assert reloaded is not None
    assert started is not None
    assert reloaded >= started


@pytest.mark.parametrize("name", ["%slog-%D", "%M/exim_%s : syslog", "syslog : exim.%s"])
def test_the_log_is_found_where_exim_puts_it(name: str, running: Daemon) -> None:
    logs = running.directory / "log"
    items = [one if one == "syslog" else f"{logs}/{one}" for one in name.split(" : ")]
    text = running.conf.read_text()
    running.conf.write_text(text.replace(f"{logs}/%slog", " : ".join(items)))
    before = _now()
    running.hang_up()
    deadline = time.monotonic() + PATIENCE
    while not (start := daemon.daemon_start(_exim(running))).time:
        assert time.monotonic() < deadline, (start, list(logs.rglob("*")))
        time.sleep(0.02)
    assert before <= start.time <= _now()
