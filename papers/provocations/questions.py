"""What the commands for people and monitoring cannot answer."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from typing import ContextManager
from unittest import mock

from papers.provocations._provocation import Provocation, as_nobody, failing

_FULL = {"dump": b"user.jane\t2000 1\n"}
_MAP = {**_FULL, "map": b"jane: :defer: mine\n"}
_OURS = {**_FULL, "map": b"# Written by cyrusquota-export 1; x\n# entries: 0\n"}
_CHECK = "cyrusquota check --dump dump --map map"


def _script(name: str, text: str) -> ContextManager[object]:
    with open(name, "w") as file:
        file.write(text)
    os.chmod(name, 0o755)
    return contextlib.nullcontext()


def _slow() -> ContextManager[object]:
    return mock.patch(
        "cyrusquota.mta.exim.subprocess.run", side_effect=subprocess.TimeoutExpired("exim", 1)
    )


def _closed() -> ContextManager[object]:
    os.chmod("map", 0)
    return as_nobody()


PROVOCATIONS = (
    Provocation(
        "cyrusquota list --dump - --near lots",
        "What follows --near is no percentage.",
        "A percentage of the limit, above 0 and up to 100.",
        names={"lots": "TEXT"},
    ),
    Provocation(
        "cyrusquota report --dump - --html gone/page.html",
        "The directory for the page is missing.",
        "As the line says. The web server must be able to read it.",
        names={"gone/page.html": "FILE", " gone ": " DIRECTORY "},
    ),
    Provocation(
        "cyrusquota check --dump dump",
        "Not one record could be read.",
        "`cyrusquota list` with the same options names the records.",
        names={"dump": "SOURCE"},
        files={"dump": b"user.jane\tx\n"},
    ),
    Provocation(
        "cyrusquota report --dump - --html page.html --mode rw",
        "--mode takes what chmod takes in octal, up to 0777.",
        "Four digits such as 0640 or 0644.",
        names={"rw": "TEXT"},
    ),
    Provocation(
        "cyrusquota explain --dump dump --no-exim --exim exim jane",
        "Exim cannot be asked and left out.",
        "Leave --no-exim out, or the other two.",
        files=_FULL,
    ),
    Provocation(
        "cyrusquota explain --dump dump --no-exim @",
        "This is no way to write a user.",
        "jane, jane@example.org or user.jane.",
        names={"@": "TEXT"},
        files=_FULL,
    ),
    Provocation(
        "cyrusquota explain --dump dump --no-exim jame",
        "Nobody has this name here. Cyrus would answer 550.",
        "Is it an alias? Then ask for what it leads to: exim4 -bt ADDRESS.",
        names={"jame:": "ADDRESS:", "user.jame": "NAME"},
        files=_FULL,
    ),
    Provocation(
        "cyrusquota explain --dump dump --map map --exim ./exim jane",
        "There is no such program, or it may not be run.",
        "As the line says. As another user than root, /usr/sbin may not be in PATH.",
        within="./exim",
        names={"./exim": "PATH", "No such file or directory": "REASON"},
        files=_OURS,
    ),
    Provocation(
        "cyrusquota explain --dump dump --map map --exim ./exim jane",
        "Exim runs, and refuses to answer: its configuration is broken, or only root may ask.",
        "Run the command that the line ends with, as root.",
        within="./exim",
        names={"./exim: does": "PATH: does", "no luck": "REASON", "./exim -bV": "PATH -bV"},
        files=_OURS,
        meanwhile=lambda: _script("exim", "#!/bin/sh\necho no luck >&2\nexit 1\n"),
    ),
    Provocation(
        "cyrusquota explain --dump dump --map map --exim ./exim jane",
        "Exim verifies with a callout or the DNS, and that takes too long.",
        "Ask it by hand, with `exim4 -d -bv ADDRESS`, what it waits for.",
        within="./exim",
        names={"./exim": "PATH"},
        files=_OURS,
        meanwhile=_slow,
    ),
    Provocation(
        "cyrusquota check --dump dump -w near=1",
        "How near is near, is for you to say.",
        "Add --reserve 5%, for example.",
        files=_FULL,
    ),
    Provocation(
        "cyrusquota check --dump dump -w speed=1",
        "There is nothing of that name that is measured.",
        "One of those that the line names.",
        names={"speed": "TEXT"},
        files=_FULL,
    ),
    Provocation(
        "cyrusquota check --dump dump -w lots",
        "What follows -w or -c is no range of the plugins' guidelines.",
        "One of the forms that the line names.",
        names={"lots": "TEXT"},
        files=_FULL,
    ),
    Provocation(
        "cyrusquota check --dump dump -w 20:10",
        "A range goes from the smaller to the larger.",
        "As the line says.",
        names={"20:10": "RANGE"},
        files=_FULL,
    ),
    Provocation(
        _CHECK,
        "The file does not begin as one of our maps does.",
        "Name the right one.",
        names={"map: was": "MAP: was"},
        files=_MAP,
    ),
    Provocation(
        _CHECK,
        "A map of ours has comments at least.",
        "As the line says.",
        names={"map: is": "MAP: is", "-o map": "-o MAP"},
        files={**_FULL, "map": b""},
    ),
    Provocation(
        _CHECK,
        "A directory, or a device, stands in the place of the map.",
        "Name the right one.",
        names={"map: is": "MAP: is"},
        files={**_FULL, "map": None},
    ),
    Provocation(
        "cyrusquota explain --dump dump --no-exim --map map jane",
        "No run has written the map yet, or somebody removed it. Nobody is deferred.",
        "As the line says.",
        within="there is no map",
        names={"map: there": "MAP: there", "-o map": "-o MAP"},
        files=_FULL,
    ),
    Provocation(
        _CHECK,
        "The map is closed to the user who runs this, and to Exim perhaps as well.",
        "As the line says: namei -l MAP shows each directory.",
        names={"map: permission": "MAP: permission"},
        files=_MAP,
        meanwhile=_closed,
    ),
    Provocation(
        _CHECK,
        "The operating system could not read the map.",
        "Look into the kernel's log (dmesg).",
        names={"map: cannot": "MAP: cannot", "Input/output error": "REASON"},
        files=_MAP,
        meanwhile=failing("cyrusquota.maps.installed._must_be_plain", errno.EIO),
    ),
)
