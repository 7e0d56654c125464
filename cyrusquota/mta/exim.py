"""Ask the Exim of this host how it is configured, and what it answers about an address.

Nothing is delivered and nothing changed: `-bP` prints options as Exim understood them, `-bv`
verifies a recipient as `verify = recipient` does, `-bt` shows the way of delivery, `-be` expands.
As root, all but `-be` run with the rights of the Exim user. Raises `EximError`.
"""

from __future__ import annotations

import enum
import re
import shutil
import subprocess
from typing import Mapping, Optional

import attrs

from cyrusquota.errors import EximError, printable

#: Where packages and Exim's own makefile put the program, and what it is called there.
DIRECTORIES = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/usr/exim/bin"
NAMES = ("exim4", "exim")
#: Seconds that Exim may take to answer; a callout or the DNS can keep it waiting.
PATIENCE = 30.0

_ROUTER = re.compile(r"(?P<name>[A-Za-z0-9_]+) router:")
_OPTION = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(?: ?=(?: (?P<value>.*))?)?", re.DOTALL)
_VERSION = re.compile(r"Exim version (?P<number>[0-9]+\.[0-9]+\S*)")
_ROUTED = re.compile(r"router = (?P<name>[A-Za-z0-9_]+),")
_EXPANDED = re.compile(r"> (?P<result>.*?)\n> \n?", re.DOTALL)
_FAILED = "Failed: "


class VerifyStatus(enum.Enum):
    """What Exim makes of a recipient, by the exit status of `exim -bv`."""

    ACCEPTED = 0
    DEFERRED = 1
    REFUSED = 2


@attrs.frozen
class VerifyResult:
    """What Exim said of a recipient: the outcome, and its own words."""

    status: VerifyStatus
    text: str


@attrs.frozen
class Router:
    """A router as `exim -bP` prints it: its options by name, `no_` taken off those that are off."""

    name: str
    options: Mapping[str, str]

    def text(self, option: str) -> str:
        """The value of an option, empty where it is not set."""
        return self.options.get(option, "")

    def is_on(self, option: str) -> bool:
        """Whether an option without a value is on."""
        return self.options.get(option) == _ON


#: A name that stands for itself, and for more than this host.
_DOMAIN = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_ON, _OFF = "yes", "no"


@attrs.frozen
class Exim:
    """An Exim: the program, and the configuration to give it (None: its own)."""

    program: str
    config: Optional[str] = None

    def version(self) -> str:
        """Its version, once it has read its whole configuration and found it sound."""
        done = self._run("-bV")
        found = _VERSION.search(done.stdout)
        if done.returncode != 0 or found is None:
            raise self._error(done)
        return found["number"]

    def configuration_file(self) -> str:
        """The file that it reads."""
        return self._printed("configure_file").strip()

    def option(self, name: str) -> str:
        """The value of a main option."""
        return _options(self._printed(name)).get(name, "")

    def is_on(self, name: str) -> bool:
        """Whether a main option without a value is on."""
        return _options(self._printed(name)).get(name) == _ON

    def local_domain(self) -> Optional[str]:
        """A domain of +local_domains, None where qualify_recipient is one, or no name is known."""
        try:
            _, _, domains = self._printed("+local_domains").partition(" = ")
        except EximError:
            return None
        names = [name.strip() for name in domains.split(":")]
        own = {self.option("qualify_recipient"), self.option("qualify_domain")}
        if own.intersection(names) or ("@" in names and self.option("primary_hostname") in own):
            return None
        return next((name for name in names if _DOMAIN.fullmatch(name)), None)

    def configuration(self) -> str:
        """All of the configuration, macros replaced (needs Exim 4.86)."""
        return self._printed("config")

    def routers(self) -> tuple[Router, ...]:
        """The routers in their order."""
        blocks: list[tuple[str, list[str]]] = []
        for line in self._printed("routers").splitlines():
            start = _ROUTER.fullmatch(line)
            if start is not None:
                blocks.append((start["name"], []))
            elif blocks:
                blocks[-1][1].append(line)
        return tuple(Router(name, _options("\n".join(lines))) for name, lines in blocks)

    def verify(self, address: str) -> VerifyResult:
        """What it makes of a recipient."""
        done = self._run("-bv", "--", address)
        lines = done.stdout.strip().splitlines()
        if not lines or done.returncode not in {status.value for status in VerifyStatus}:
            raise self._error(done)
        return VerifyResult(VerifyStatus(done.returncode), printable(" ".join(lines)))

    def delivering_router(self, address: str) -> Optional[str]:
        """The name of the router that would deliver to a recipient, None if no router would."""
        found = _ROUTED.search(self._run("-bt", "--", address).stdout)
        return None if found is None else found["name"]

    def expanded(self, text: str) -> Optional[str]:
        """What a string expands to, or None where the expansion fails."""
        # By standard input, since newer versions take 256 characters in an argument at most.
        done = self._run("-be", stdin=" ".join(text.splitlines()) + "\n")
        answer = _EXPANDED.fullmatch(done.stdout)
        if done.returncode != 0 or answer is None:
            raise self._error(done)
        result = answer["result"]
        return None if result.startswith(_FAILED) else result

    def _printed(self, *what: str) -> str:
        done = self._run("-bP", *what)
        if done.returncode != 0:
            raise self._error(done)
        return done.stdout

    def _run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        config = () if self.config is None else ("-C", self.config)
        try:
            return subprocess.run(
                [self.program, *config, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                errors="surrogateescape",
                timeout=PATIENCE,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise EximError(
                f"{printable(self.program)}: cannot be run: {reason}; name Exim with --exim, or"
                " leave it out with --no-exim"
            ) from error
        except subprocess.TimeoutExpired:
            raise EximError(
                f"{printable(self.program)} {arguments[0]}: no answer in {PATIENCE:g} seconds; see"
                " whether the DNS or a callout keeps it waiting"
            ) from None

    def _error(self, done: subprocess.CompletedProcess[str]) -> EximError:
        said = " ".join(line.strip() for line in (done.stderr or done.stdout).splitlines())
        return EximError(
            f"{printable(self.program)}: does not answer: {printable(_without_echo(said))};"
            f" try: {printable(self.program)} -bV"
        )


def installed() -> Optional[str]:
    """The path of the Exim of this host, or None."""
    found = (shutil.which(name, path=DIRECTORIES) for name in NAMES)
    return next((path for path in found if path is not None), None)


def _options(printed: str) -> dict[str, str]:
    options = {}
    for line in printed.splitlines():
        match = _OPTION.fullmatch(line.rstrip())
        if match is None:
            continue
        name, value = match["name"], match["value"]
        if "=" in line:
            options[name] = value or ""
        elif name.startswith("no_"):
            options[name[len("no_") :]] = _OFF
        else:
            options[name] = _ON
    return options


def _without_echo(said: str) -> str:
    """Exim's complaint once; it comes again as the line that would go to its panic log."""
    return said.partition(" LOG: ")[0] or "exit without a word"
