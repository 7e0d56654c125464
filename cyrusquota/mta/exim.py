"""Ask Exim for its configuration, and what it does with an address.

Nothing is delivered or changed: `-bP` prints options as Exim understands them, `-bv` verifies a
recipient as `verify = recipient` does, `-bt` shows the route of delivery, `-be` expands a string.
When root asks, all but `-be` run with the rights of the Exim user. Calls raise `EximError`.
"""

from __future__ import annotations

import enum
import re
import shlex
import shutil
import subprocess
from typing import Mapping, Optional

import attrs

from cyrusquota.errors import EximError, printable

#: Where packages and Exim's own makefile install the program, and its names there.
DIRECTORIES = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/usr/exim/bin"
NAMES = ("exim4", "exim")
#: Seconds to wait for an answer; a callout or the DNS can delay it.
PATIENCE = 30.0

_START = re.compile(r"(?P<name>[A-Za-z0-9_]+) (?:router|transport):")
_OPTION = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(?: ?=(?: (?P<value>.*))?)?", re.DOTALL)
_VERSION = re.compile(r"Exim version (?P<number>[0-9]+\.[0-9]+\S*)")
_ROUTED = re.compile(r"router = (?P<router>[A-Za-z0-9_]+), transport = (?P<transport>\S+)")
_EXPANDED = re.compile(r"> (?P<result>.*?)\n> \n?", re.DOTALL)
_FAILED = "Failed: "


class VerifyStatus(enum.Enum):
    """What Exim does with a recipient; the values are the exit statuses of `exim -bv`."""

    ACCEPTED = 0
    DEFERRED = 1
    REFUSED = 2


@attrs.frozen
class VerifyResult:
    """Exim's answer about a recipient: the status, and its text."""

    status: VerifyStatus
    text: str

    @property
    def has_reason(self) -> bool:
        """Whether the text says why; Exim leaves that out for users who are no administrators."""
        return not self.text.endswith((" cannot be resolved at this time", " failed to verify"))


@attrs.frozen
class Driver:
    """A router or transport as `exim -bP` prints it: options by name; `no_NAME` is NAME, off."""

    name: str
    options: Mapping[str, str]

    def text(self, option: str) -> str:
        """Return the value of an option, or an empty string if it is not set."""
        return self.options.get(option, "")

    def is_on(self, option: str) -> bool:
        """Return whether a boolean option is on."""
        return self.options.get(option) == _ON


#: A plain domain name, neither a pattern nor a host without a domain.
_DOMAIN = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_ON, _OFF = "yes", "no"


@attrs.frozen
class Exim:
    """An Exim: the program, and its configuration file (None: the default)."""

    program: str
    config: Optional[str] = None

    def version(self) -> str:
        """Return the version; this checks the whole configuration."""
        done = self._run("-bV")
        found = _VERSION.search(done.stdout)
        if done.returncode != 0 or found is None:
            raise self._error(done)
        return found["number"]

    def configuration_file(self) -> str:
        """Return the name of the configuration file."""
        return self._printed("configure_file").strip()

    def option(self, name: str) -> str:
        """Return the value of a main option."""
        return _options(self._printed(name)).get(name, "")

    def is_on(self, name: str) -> bool:
        """Return whether a boolean main option is on."""
        return _options(self._printed(name)).get(name) == _ON

    def local_domain(self) -> Optional[str]:
        """Return a plain name in +local_domains; None without one, or if qualify_recipient is."""
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
        """Return the whole configuration, with macros replaced (Exim 4.86 and later)."""
        return self._printed("config")

    def routers(self) -> tuple[Driver, ...]:
        """Return the routers in their order."""
        return self._drivers("routers")

    def transports(self) -> tuple[Driver, ...]:
        """Return the transports in their order."""
        return self._drivers("transports")

    def _drivers(self, which: str) -> tuple[Driver, ...]:
        blocks: list[tuple[str, list[str]]] = []
        for line in self._printed(which).splitlines():
            start = _START.fullmatch(line)
            if start is not None:
                blocks.append((start["name"], []))
            elif blocks:
                blocks[-1][1].append(line)
        return tuple(Driver(name, _options("\n".join(lines))) for name, lines in blocks)

    def verify(self, address: str) -> VerifyResult:
        """Return what Exim does with a recipient."""
        done = self._run("-bv", "--", address)
        lines = done.stdout.strip().splitlines()
        if not lines or done.returncode not in {status.value for status in VerifyStatus}:
            raise self._error(done)
        return VerifyResult(VerifyStatus(done.returncode), printable(" ".join(lines)))

    def route(self, address: str) -> Optional[tuple[str, str]]:
        """Return the names of the router and the transport that deliver to a recipient, or None."""
        found = _ROUTED.search(self.routing(address))
        return None if found is None else (found["router"], found["transport"])

    def routing(self, address: str) -> str:
        """Return what `exim -bt` prints: where messages to an address are delivered."""
        return self._run("-bt", "--", address).stdout

    def traced(self, address: str) -> str:
        """Return the trace of verifying a recipient; Exim shows it to its administrators only."""
        return self._run("-d-all+route+lookup", "-bv", "--", address).stderr

    def expanded(self, text: str) -> Optional[str]:
        """Return the expansion of a string, or None if it is forced to fail."""
        # On standard input, because newer versions accept 256 characters in an argument at most.
        done = self._run("-be", stdin=" ".join(text.splitlines()) + "\n")
        answer = _EXPANDED.fullmatch(done.stdout)
        if done.returncode != 0 or answer is None:
            raise self._error(done)
        result = answer["result"]
        return None if result.startswith(_FAILED) else result

    def command(self, *arguments: str) -> str:
        """Return a command line for a shell that gives this Exim these arguments."""
        return shlex.join(self._words(*arguments))

    def _words(self, *arguments: str) -> list[str]:
        config = () if self.config is None else ("-C", self.config)
        return [self.program, *config, *arguments]

    def _printed(self, *what: str) -> str:
        done = self._run("-bP", *what)
        if done.returncode != 0:
            raise self._error(done)
        return done.stdout

    def _run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                self._words(*arguments),
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
                " whether the DNS or a callout delays it"
            ) from None

    def _error(self, done: subprocess.CompletedProcess[str]) -> EximError:
        said = " ".join(line.strip() for line in (done.stderr or done.stdout).splitlines())
        return EximError(
            f"{printable(self.program)}: does not answer: {printable(_without_echo(said))};"
            f" try: {printable(self.command('-bV'))}"
        )


def installed() -> Optional[str]:
    """Return the path of the Exim of this host, or None."""
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
    """Return Exim's message once; it repeats it for its panic log."""
    said = said.removeprefix("LOG: PANIC DIE ")
    return said.partition(" LOG: ")[0] or "it exited without a message"
