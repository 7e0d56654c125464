"""The man pages are sound to man-db's groff and to mandoc, and can be read."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tools.docs.man import MAN, PAGES

pytestmark = pytest.mark.integration


def _said(*command: str) -> tuple[str, str]:
    """What a command prints, and what it warns of; mandoc prints its warnings."""
    environment = {**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60, text=True)
    return done.stdout, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_mandoc_has_nothing_to_say(page: str, needs_mandoc: None) -> None:
    assert _said("mandoc", "-T", "lint", "-W", "all", str(MAN / page)) == ("", "")


@pytest.mark.parametrize("page", PAGES)
def test_man_shows_it_without_a_warning(page: str, needs_man: None) -> None:
    shown, warned = _said("man", "--warnings", "-P", "cat", "-l", str(MAN / page))
    assert shown.startswith(page.partition(".")[0].upper())
    assert "EXIT STATUS" in shown
    assert warned == ""
    assert "\\f" not in shown


def test_a_warning_would_be_noticed(needs_man: None, needs_mandoc: None, tmp_path: object) -> None:
    assert shutil.which("man")
    broken = f"{tmp_path}/broken.1"
    with open(broken, "w") as file:
        file.write('.TH BROKEN 1 2026-11-23 "x" "y"\n.SH NAME\nbroken \\- \\f[no-such]x\n.nosuch\n')
    assert "warning" in _said("man", "--warnings", "-P", "cat", "-l", broken)[1]
    assert "nosuch" in _said("mandoc", "-T", "lint", broken)[0]
