"""Find the cron jobs and systemd units that run the export, and check them.

They are read from their files, below any root directory; only whether a unit has failed is asked
of systemctl. Crontabs are those of crontab(5): five fields and a command, in the system's own
crontabs a user before it; `@hourly` and the like for the five; lines `NAME = value` set the
environment, PATH among it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Iterator, Optional, Sequence

import attrs

from cyrusquota.display.sizes import duration
from cyrusquota.doctor.findings import Finding, finding

#: The crontabs of root on Debian, Red Hat and FreeBSD.
_CRONTABS = ("var/spool/cron/crontabs/root", "var/spool/cron/root", "var/cron/tabs/root")
_CRON_D = "etc/cron.d"
_CRONTAB = "etc/crontab"
#: Directories of units; the first unit of a name counts (systemd.unit(5)).
_UNITS = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
#: Exists while systemd runs (sd_booted(3)). Debian's cron jobs test for it, and then leave the
#: work to a timer.
BOOTED = "/run/systemd/system"
_EXEC = re.compile(r"^ExecStart\s*=\s*[-@:+!|]*(?P<command>.+)$", re.MULTILINE)
_PATIENCE = 10.0
#: Matches a command that runs the export.
RUNS = re.compile(r"(?:^|[\s/'\"=])cyrusquota-export(?=$|[\s'\";|&>])")
#: The PATH that cron sets if the crontab does not.
PATH = "/usr/bin:/bin"

_SETTING = re.compile(r"\s*(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*?)\s*")
_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@reboot": None,
}
_DAY = 24 * 60
_RANGE = re.compile(r"(?:\*|(?P<first>[0-9]+)(?:-(?P<last>[0-9]+))?)(?:/(?P<step>[0-9]+))?")


@attrs.frozen
class Job:
    """A cron job or unit that runs the export: its file, command, and longest pause in seconds.

    `pause` is None if it is not known; `is_enabled` is False for a unit that nothing starts.
    """

    name: str
    command: str
    path: str = PATH
    pause: Optional[float] = None
    is_enabled: bool = True
    unit: Optional[str] = None

    @property
    def words(self) -> list[str]:
        """The words of the command, split as a shell does."""
        try:
            return shlex.split(self.command, comments=True)
        except ValueError:
            return self.command.split()

    @property
    def output(self) -> Optional[str]:
        """The map that the job writes."""
        words = self.words
        for word, after in zip(words, [*words[1:], None]):
            if word in ("-o", "--output"):
                return after
            match = re.fullmatch(r"(?:--output=|-o)(.+)", word)
            if match is not None:
                return match[1]
        return None

    @property
    def program(self) -> str:
        """The program that the job runs."""
        named = (word for word in self.words if RUNS.search(word))
        return next(named, self.command)


@attrs.frozen
class Schedule:
    """The jobs below a root directory, and the problems that the search met."""

    root: Path
    jobs: tuple[Job, ...]
    problems: tuple[Finding, ...]

    @classmethod
    def below(cls, root: Path) -> Schedule:
        """Return the jobs that are found below `root`."""
        search = _Search(root)
        jobs = list(search.cron())
        if not search.instead_of_units:
            jobs += search.units()
        return cls(root, tuple(jobs), tuple(search.findings))

    @property
    def running(self) -> list[Job]:
        """The jobs that something starts."""
        return [job for job in self.jobs if job.is_enabled]

    def writing(self, path: str, exports_to: Optional[str]) -> Iterator[Job]:
        """Return the running jobs that write the map `path`; jobs without -o write `exports_to`."""
        return (job for job in self.running if (job.output or exports_to) == path)


def examine(
    schedule: Schedule,
    path: str,
    max_age: Optional[int],
    systemctl: Optional[str],
    exports_to: Optional[str],
    by_hand: str,
) -> Iterator[Finding]:
    """Check the jobs that write the map `path`.

    `exports_to` is the map of those that name none; `by_hand` is a command that writes it.
    """
    yield from schedule.problems
    jobs, running = schedule.jobs, schedule.running
    for job in jobs:
        yield from _job(job, job.output or exports_to, path, max_age, schedule.root, running)
    if len(running) > 1:
        yield finding("schedule-twice", " and ".join(job.name for job in running))
    if not jobs:
        said = f"no cron job or timer found below {schedule.root}"
        yield finding("schedule-missing", said, f"*/5 * * * *  {by_hand}")
    if systemctl is not None:
        yield from _failed(systemctl, running)


def _job(
    job: Job,
    output: Optional[str],
    path: str,
    max_age: Optional[int],
    root: Path,
    running: Sequence[Job],
) -> Iterator[Finding]:
    if not job.is_enabled:
        if not running:
            command = f"systemctl enable --now {job.unit}"
            yield finding("schedule-disabled", f"{job.name}: not enabled", command)
        return
    if _missing(job, root):
        yield finding("schedule-program", f"{job.name}: program {job.program} not found")
    if output != path:
        yield finding("schedule-map", f"{job.name}: writes {output or 'no file'}, not {path}")
    if job.pause is not None and max_age is not None and job.pause >= max_age:
        pause = (
            "less than once a day" if job.pause == float("inf") else f"every {duration(job.pause)}"
        )
        yield finding(
            "schedule-seldom",
            f"{job.name}: runs {pause}, and the map is valid for {duration(max_age)}",
        )
    yield finding("schedule", f"{job.name}: {job.command}")


def _missing(job: Job, root: Path) -> bool:
    program = job.program
    if "/" in program:
        return not os.access(root / program.lstrip("/"), os.X_OK)
    path = os.pathsep.join(str(root / one.lstrip("/")) for one in job.path.split(":"))
    return shutil.which(program, path=path) is None


@attrs.define
class _Search:
    """The search for jobs below a root directory; `findings` are the problems it meets.

    `instead_of_units` is set by a cron job that runs only without systemd.
    """

    root: Path
    findings: list[Finding] = attrs.field(factory=list)
    instead_of_units: bool = False

    def cron(self) -> Iterator[Job]:
        for name in _CRONTABS:
            yield from self._crontab(self.root / name, has_user=False)
        yield from self._crontab(self.root / _CRONTAB, has_user=True)
        for path in self._listed(self.root / _CRON_D):
            jobs = list(self._crontab(path, has_user=True))
            if jobs and "." in path.name:
                self.findings.append(finding("schedule-ignored", f"{path}: cron ignores this file"))
            else:
                yield from jobs

    def _crontab(self, path: Path, *, has_user: bool) -> Iterator[Job]:
        for line in cron_lines(self._text(path), has_user=has_user):
            if BOOTED in line.command:
                if (self.root / BOOTED.lstrip("/")).is_dir():
                    continue
                self.instead_of_units = True
            pause = float("inf") if line.pause is None else line.pause
            yield Job(str(path), line.command, line.path, pause)

    def units(self) -> Iterator[Job]:
        seen = set()
        for directory in _UNITS:
            for path in self._listed(self.root / directory):
                if path.suffix == ".service" and path.name not in seen:
                    seen.add(path.name)
                    yield from self._service(path)

    def _service(self, path: Path) -> Iterator[Job]:
        match = _EXEC.search(self._text(path))
        if match is None or not RUNS.search(match["command"]):
            return
        command = match["command"].strip()
        stays = "--follow" in command.split()
        unit = path.name if stays else f"{path.stem}.timer"
        yield Job(str(path), command, is_enabled=self._is_enabled(unit), unit=unit)

    def _is_enabled(self, unit: str) -> bool:
        """Return whether a target wants the unit; `systemctl enable` makes such a link."""
        return any(
            os.path.lexists(wants / unit)
            for directory in _UNITS
            for wants in self._listed(self.root / directory)
            if wants.suffix in (".wants", ".requires")
        )

    def _listed(self, directory: Path) -> list[Path]:
        try:
            return sorted(directory.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._unseen(directory, error)
            return []

    def _text(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return ""
        except OSError as error:
            self._unseen(path, error)
            return ""

    def _unseen(self, path: Path, error: OSError) -> None:
        self.findings.append(finding("not-seen", f"{path}: {(error.strerror or '').lower()}"))


def _failed(systemctl: str, jobs: Sequence[Job]) -> Iterator[Finding]:
    for job in jobs:
        if job.unit is None:
            continue
        service = Path(job.name).name
        try:
            done = subprocess.run(
                [systemctl, "is-failed", "--quiet", service],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE,
            )
        except (OSError, subprocess.TimeoutExpired):
            return
        if done.returncode == 0:
            commands = (f"systemctl status {service}", f"journalctl -u {service}")
            yield finding("schedule-failed", f"{service}: failed", *commands)


@attrs.frozen
class CronLine:
    """A line of a crontab that runs the export: its command, its PATH, and its longest pause.

    `pause` is in seconds, and None if the line does not run every day.
    """

    command: str
    path: str
    pause: Optional[int]


def cron_lines(text: str, *, has_user: bool) -> Iterator[CronLine]:
    """Return the lines of a crontab that run the export; `has_user` for the system's own."""
    path = PATH
    for line in text.splitlines():
        setting = _SETTING.fullmatch(line)
        if setting is not None:
            path = setting["value"].strip("'\"") if setting["name"] == "PATH" else path
        elif RUNS.search(line) and not line.lstrip().startswith("#"):
            when, command = _cron_fields(
                line.split(None, 1 if line.lstrip().startswith("@") else 5)
            )
            if has_user:
                command = command.partition(" ")[2].strip()
            yield CronLine(command, path, _longest_pause(when))


def _cron_fields(words: list[str]) -> tuple[list[str], str]:
    if words[0].startswith("@"):
        return (_NAMED.get(words[0]) or "").split(), words[-1]
    return words[:5], words[-1]


def _longest_pause(when: list[str]) -> Optional[int]:
    if len(when) != 5 or any(field not in ("*", "*/1") for field in when[2:]):
        return None
    minutes, hours = _numbers(when[0], 60), _numbers(when[1], 24)
    times = sorted(hour * 60 + minute for hour in hours for minute in minutes)
    if not times:
        return None
    return 60 * max(later - time for time, later in zip(times, [*times[1:], times[0] + _DAY]))


def _numbers(field: str, below: int) -> set[int]:
    """Return the numbers that a field of a crontab stands for."""
    numbers: set[int] = set()
    for part in field.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            return set()
        first = int(match["first"] or 0)
        step = int(match["step"] or 1) or 1
        last = below - 1 if match["first"] is None else int(match["last"] or first)
        numbers |= {number for number in range(first, last + 1, step) if number < below}
    return numbers
