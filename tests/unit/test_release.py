"""What is said of the program where it is packaged agrees with the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cyrusquota import __version__
from cyrusquota.cli.export import export
from cyrusquota.cli.mirror import mirror

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
