"""cyrus.conf: under which names lmtpd runs, and with which imapd.conf (master/masterconf.c).

An option of imapd.conf counts for one service alone where its name begins with that of the
service, and the service may have an imapd.conf of its own.
"""

from __future__ import annotations

import os
import re
from typing import Iterator, Optional

import attrs

#: Enough for any; a file that is longer is cut there.
_LONGEST = 1 << 20
_ENTRY = re.compile(r"\s*(?P<name>[A-Za-z0-9]+)\s+(?P<arguments>.*)", re.DOTALL)
_COMMAND = re.compile(r"(?:^|\s)cmd=(?:\"(?P<quoted>[^\"]*)\"|(?P<word>\S+))")
_SERVICES = re.compile(r"\s*services(?![A-Za-z0-9])", re.IGNORECASE)
_ANY_SECTION = re.compile(r"\s*[A-Za-z0-9]")


@attrs.frozen
class Service:
    """An lmtpd of cyrus.conf: its name, and the imapd.conf that its -C names, if any."""

    name: str
    config: Optional[str] = None


def lmtpd_services(path: str) -> list[Service]:
    """Return the lmtpd services of the cyrus.conf at `path`; none where it cannot be read."""
    found = []
    for name, command in _entries(_text(path), _SERVICES):
        # The master divides it at blanks, whatever is quoted, and takes only `-C FILE`.
        words = command.split()
        if words and os.path.basename(words[0]) == "lmtpd":
            at = words.index("-C") + 1 if "-C" in words else len(words)
            found.append(Service(name, words[at] if at < len(words) else None))
    return found


def programs(path: str) -> frozenset[str]:
    """Return the names of all programs that the cyrus.conf at `path` starts; none as above."""
    commands = (command.split() for _, command in _entries(_text(path), _ANY_SECTION))
    return frozenset(os.path.basename(words[0]) for words in commands if words)


def _text(path: str) -> str:
    """Return the text of a cyrus.conf, empty where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        return ""
    with open(descriptor, "rb") as file:
        try:
            return file.read(_LONGEST).decode("utf-8", "surrogateescape")
        except OSError:
            return ""


def _entries(text: str, section: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Yield the name and the command of each entry of the sections that match `section`."""
    level, within = 0, False
    for raw in text.split("\n"):
        line = raw.partition("#")[0]
        if within and level == 1:
            entry = _ENTRY.fullmatch(line)
            command = None if entry is None else _COMMAND.search(entry["arguments"])
            if entry is not None and command is not None:
                yield entry["name"], command["quoted"] or command["word"] or ""
        elif level == 0:
            within = section.match(line) is not None
        level += line.count("{") - line.count("}")
