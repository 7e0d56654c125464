"""What is said of the program where it is packaged agrees with the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cyrusquota import __version__
from cyrusquota.cli.export import export
from cyrusquota.cli.mirror import mirror
from cyrusquota.cli.notify import notify

PROJECT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"cyrusquota-(export|mirror) (--settings /etc/cyrusquota.conf.*)")
COMMANDS = {"export": export, "mirror": mirror}


def test_the_debian_package_has_the_version_of_the_program() -> None:
    first = (PROJECT / "debian" / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"cyrusquota ({__version__}-")


@pytest.mark.parametrize(
    "file",
    [
        "systemd/cyrusquota.service",
        "systemd/cyrusquota-export.service",
        "systemd/cyrusquota-mirror.service",
        "debian/cyrusquota.cron.d",
    ],
)
def test_what_starts_it_gives_options_that_it_has(file: str) -> None:
    found = COMMAND.findall((PROJECT / file).read_text())
    assert found
    for name, options in found:
        words = options.replace("/etc/cyrusquota.conf", f"{PROJECT}/cyrusquota.conf").split()
        params = COMMANDS[name].make_context(f"cyrusquota-{name}", words).params
        assert params["output"] == "/var/lib/cyrusquota/overquota"
        assert params.get("follow", False) == ("cyrusquota.service" in file)


def test_the_service_for_letters_gives_options_that_they_have() -> None:
    text = (PROJECT / "systemd" / "cyrusquota-notify.service").read_text()
    (line,) = re.findall(r"^ExecStart=/usr/local/sbin/cyrusquota notify (.*)$", text, re.MULTILINE)
    words = line.replace("/etc/cyrusquota.conf", f"{PROJECT}/cyrusquota.conf").split()
    params = notify.make_context("notify", words).params
    state = "/var/lib/cyrusquota/notify.db"
    assert (params["state"], params["dry_run"]) == (state, False)
    assert state.startswith(f"/var/lib/{re.findall('^StateDirectory=(.*)$', text, re.M)[0]}/")
