"""The map cannot be written, or is held back."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import ContextManager, Iterator
from unittest import mock

from papers.provocations._provocation import Provocation, as_nobody, failing

_FULL = b"user.jane\t2000 1\n"
_EXPORT = "cyrusquota-export --dump - -o map"


@contextlib.contextmanager
def _held_by_another_run() -> Iterator[None]:
    with open(".map.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _metrics_held() -> Iterator[None]:
    with open(".quota.prom.lock", "w") as file, mock.patch("cyrusquota.cli.metrics._MAX_WAIT", 0):
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _linked() -> ContextManager[object]:
    os.symlink("elsewhere", "map")
    return contextlib.nullcontext()


def _world_writable() -> ContextManager[object]:
    os.chmod(".", 0o777)
    return contextlib.nullcontext()


def _replaced() -> ContextManager[object]:
    return mock.patch("os.path.samestat", side_effect=[True, False, False])


def _fifo() -> ContextManager[object]:
    os.mkfifo(".map.lock")
    return contextlib.nullcontext()


def _map(*users: str, roots: int = 1) -> bytes:
    begin = f"# Written by cyrusquota-export; x\n# source: standard input\n# roots: {roots}\n"
    return (begin + "".join(f"{user}: :defer: full\n" for user in users)).encode()


PROVOCATIONS = (
    Provocation(
        "cyrusquota-export --dump - -o gone/map",
        "The directory for the map is missing.",
        "mkdir -m 0755 DIRECTORY. Exim must be able to read it, and nobody but you to write there.",
        names={"gone/map": "MAP", " gone ": " DIRECTORY "},
    ),
    Provocation(
        _EXPORT,
        "Something that is no map stands in its place: here a directory.",
        "As the line says.",
        names={"map:": "MAP:"},
        files={"map": None},
    ),
    Provocation(
        _EXPORT,
        "A symbolic link could lead a run by root to any file.",
        "As the line says.",
        names={"map:": "MAP:"},
        meanwhile=_linked,
    ),
    Provocation(
        _EXPORT,
        "The file in the place of the map does not begin as one of ours does. It is not"
        " overwritten.",
        "Move it away if it is not needed; a map of your own belongs under another name.",
        names={"map:": "MAP:"},
        files={"map": b"jane: :defer: mine\n"},
        stdin=_FULL,
    ),
    Provocation(
        _EXPORT,
        "The lock beside the map, .NAME.lock, is no file, so one run cannot know of another.",
        "Remove it.",
        names={".map.lock": "LOCK"},
        meanwhile=_fifo,
    ),
    Provocation(
        _EXPORT,
        "The directory was renamed or removed while the map was being made.",
        "Run again.",
        stdin=_FULL,
        meanwhile=_replaced,
    ),
    Provocation(
        _EXPORT,
        "The file system is mounted read-only, often after an error on the disk.",
        "Look into the kernel's log, and mount it for writing.",
        names={"map:": "MAP:", "mount . ": "mount DIRECTORY "},
        meanwhile=failing("cyrusquota.publish.target_directory.Directory.create", errno.EROFS),
    ),
    Provocation(
        "cyrusquota-export --dump - -o .",
        "What follows -o is the name of a directory.",
        "Name a file in it.",
        names={".:": "MAP:"},
    ),
    Provocation(
        f"cyrusquota-export --dump - -o {'m' * 300}",
        "File systems have a limit for names, 255 bytes as a rule, and the file beside the map"
        " has a longer one.",
        "As the line says.",
        names={f".{'m' * 300}.lock": "LOCK"},
    ),
    Provocation(
        "cyrusquota-export --dump - -o loop/map",
        "Symbolic links lead round in a circle.",
        "Look at them: namei -l MAP.",
        names={"loop/map": "MAP"},
        meanwhile=lambda: _loop("loop"),
    ),
    Provocation(
        _EXPORT,
        "The disk is full, or the quota of the file system. The new map was written under another"
        " name, so the one in place is whole.",
        "As the line says.",
        names={
            "map:": "MAP:",
            "room in . ": "room in DIRECTORY ",
            "No space left on device": "REASON",
        },
        stdin=_FULL,
        meanwhile=failing("cyrusquota.publish.atomic.os.write", errno.ENOSPC),
    ),
    Provocation(
        _EXPORT,
        "The operating system could not write the file.",
        "As the line says: dmesg.",
        names={"map:": "MAP:", "Input/output error": "REASON"},
        stdin=_FULL,
        meanwhile=failing("cyrusquota.publish.atomic.os.write", errno.EIO),
    ),
    Provocation(
        "cyrusquota-export --dump - -o map --map-format cdb",
        "The format has offsets of 32 bits. That is some ten million full users.",
        "As the line says.",
        stdin=_FULL,
        meanwhile=lambda: mock.patch("cyrusquota.maps.cdb._MAX", 1),
    ),
    Provocation(
        _EXPORT,
        "The user who runs this may not write in the directory of the map, or give a file to"
        " --owner or --group.",
        "Run it as root, or let it belong to the user who runs it. With --user the map is still"
        " written by root.",
        names={".map.lock": "LOCK", " . and": " DIRECTORY and", "Permission denied": "REASON"},
        meanwhile=as_nobody,
    ),
    Provocation(
        _EXPORT,
        "Whoever can write to the directory of the map could put any map there.",
        "As the line says. /tmp is no place for a map.",
        names={".: any": "DIRECTORY: any"},
        meanwhile=_world_writable,
    ),
    Provocation(
        _EXPORT,
        "The run before this one is not done, or another one was started by hand.",
        "Nothing, if it happens once. If each run says so: ps ax | grep cyrusquota, and make the"
        " time between two runs longer.",
        names={"map:": "MAP:"},
        meanwhile=_held_by_another_run,
    ),
    Provocation(
        "cyrusquota metrics --dump - -o quota.prom",
        "Another run of `cyrusquota metrics` has been writing this file for ten seconds.",
        "The same.",
        names={"quota.prom": "FILE"},
        stdin=_FULL,
        meanwhile=_metrics_held,
    ),
    Provocation(
        _EXPORT,
        "More would change than --max-change allows. See operations.md, When a map is held back.",
        "Look at the source first. If the change is right, run the command that the line ends"
        " with, once.",
        names={
            "map: held": "MAP: held",
            "21 entries": "NUMBER entries",
            "the 1 in": "the NUMBER in",
            "--accept-change 21": "--accept-change NUMBER",
            "cyrusquota-export --dump - -o map": "COMMAND",
            "added=20%,20": "LIMIT",
        },
        files={"map": _map("bob")},
        stdin=b"user.bob\t2000 1\n" + b"".join(b"user.u%d\t2000 1\n" % n for n in range(21)),
    ),
    Provocation(
        _EXPORT,
        "The source has no quota root at all, and had many. It is empty, or the wrong one.",
        "Check that the file system is mounted and imapd.conf the right one.",
        names={
            "map: held": "MAP: held",
            "standard input": "SOURCE",
            "from 12": "from NUMBER",
            "rm map": "rm MAP",
        },
        files={"map": _map("bob", roots=12)},
    ),
)


def _loop(name: str) -> ContextManager[object]:
    os.symlink(name, name)
    return contextlib.nullcontext()
