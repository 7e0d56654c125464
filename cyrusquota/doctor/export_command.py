"""The command line of the export, for advice: with the options that it has on this host."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Iterator, Optional, Sequence

import attrs

from cyrusquota.cyrus import imapdconf
from cyrusquota.doctor.schedule import Job, Schedule
from cyrusquota.errors import MapError
from cyrusquota.maps.installed import installed_map

_NAME = "cyrusquota-export"
#: Where packages and docs/operations.md install it.
_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/usr/local/bin", "/usr/bin", "/opt/cyrusquota/bin")
#: Where a shell's redirections or a next command begin, and what only cron, systemd or a shell
#: understands.
_END = re.compile(r"[0-9]*[<>|;&]")
_SPECIAL = re.compile(r"[$`%*?()<>|;&]")
#: Options for a run that stays or is silent; one by hand ends and says what it does.
_ALONE = ("--follow", "-q", "--quiet")
_WITH_VALUE = ("--poll",)
#: What an export writes unless it is told otherwise.
_USUAL_FORMAT = "lsearch"


@attrs.frozen
class ExportCommand:
    """The words of the command that writes `map`."""

    words: tuple[str, ...]
    map: str

    @classmethod
    def on_host(
        cls, schedule: Schedule, path: str, exports_to: Optional[str], config: str
    ) -> ExportCommand:
        """Return the command of the job that writes the map `path`, or one that would."""
        writing = schedule.writing(path, exports_to)
        words = next(filter(None, map(_by_hand, writing)), None)
        if words is None:
            words = (_program(schedule.root), *options_for(config), "-o", path)
            words += _format_options(path)
        return cls(words, path)

    def line(self, *options: str) -> str:
        """Return the command line, with more options."""
        words = self.words
        if options and options[0] in words:
            # Given again, it replaces what is there.
            at = words.index(options[0])
            words = (*words[:at], *words[at + len(options) :])
        return shlex.join((*words, *options))

    def of_dump(self, dumping: str) -> str:
        """Return the command line that writes the map from what the command `dumping` prints."""
        return f"{dumping} | {shlex.join((self.words[0], '--dump', '-', '-o', self.map))}"


def options_for(config: str) -> tuple[str, ...]:
    """Return the options that have a command read the imapd.conf at `config`."""
    return () if config == imapdconf.DEFAULT_PATH else ("-C", config)


def _format_options(path: str) -> tuple[str, ...]:
    """Return the options that keep the format of the map at `path`, if there is one."""
    try:
        form = installed_map(path).format
    except MapError:
        return ()
    return () if form == _USUAL_FORMAT else ("--map-format", form)


def _program(root: Path) -> str:
    """Return the path of the program below `root`, for cron; its name if it is not there."""
    # pip installs it beside the Python of a virtual environment, which cron does not search.
    paths = (f"{directory}/{_NAME}" for directory in (*_DIRECTORIES, Path(sys.executable).parent))
    return next((path for path in paths if (root / path.lstrip("/")).exists()), _NAME)


def _by_hand(job: Job) -> Optional[tuple[str, ...]]:
    """Return the words for a single run of what a job runs; None if only a shell knows them."""
    words = job.words
    if job.program not in words:
        return None
    own: list[str] = []
    for word in words[words.index(job.program) :]:
        if _END.match(word):
            break
        own.append(word)
    kept = tuple(_single(own))
    return None if any(map(_SPECIAL.search, kept)) else kept


def _single(words: Sequence[str]) -> Iterator[str]:
    remaining = iter(words)
    for word in remaining:
        if word in _WITH_VALUE:
            next(remaining, None)
        elif word not in _ALONE and word.partition("=")[0] not in _WITH_VALUE:
            yield word
