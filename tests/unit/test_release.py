"""What is said of the program where it is packaged agrees with the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cyrusquota import __version__
from cyrusquota.cli.export import export

PROJECT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"cyrusquota-export (--(?:user|follow) .*)")


def test_the_debian_package_has_the_version_of_the_program() -> None:
    first = (PROJECT / "debian" / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"cyrusquota ({__version__}-")


@pytest.mark.parametrize(
    "file",
    [
        "systemd/cyrusquota.service",
        "systemd/cyrusquota-export.service",
        "debian/cyrusquota.cron.d",
        "debian/cyrusquota.README.Debian",
    ],
)
def test_what_starts_it_gives_options_that_it_has(file: str) -> None:
    found = COMMAND.findall((PROJECT / file).read_text())
    assert found
    for options in found:
        assert export.make_context("cyrusquota-export", options.split()).params["output"]
