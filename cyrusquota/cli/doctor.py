"""cyrusquota doctor: check everything that the map depends on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any, Iterable, Iterator, Optional, Sequence

import attrs
import click

from cyrusquota import doctor
from cyrusquota.cli import settings, settings_file
from cyrusquota.cli.command import Command, Example, Heading, under
from cyrusquota.cli.engine_options import EngineOptions, engine_options, mirrored
from cyrusquota.cli.exim_options import exim_options
from cyrusquota.cli.json_format import format_option, json_text
from cyrusquota.cli.option_types import file_names
from cyrusquota.cli.terminal import Terminal, terminal
from cyrusquota.cyrus import imapdconf
from cyrusquota.doctor import Finding, Host, Severity, SharedEngine
from cyrusquota.doctor.kinds import MAP_KINDS
from cyrusquota.doctor.kinds_exim import EXIM_KINDS, SCHEDULE_KINDS
from cyrusquota.doctor.schedule import BOOTED
from cyrusquota.engine import protocol
from cyrusquota.errors import CyrusQuotaError, count_of, printable
from cyrusquota.maps import KeyForm
from cyrusquota.mta.exim import Exim
from cyrusquota.site.role import elsewhere
from cyrusquota.site.site import Site

_how = under(Heading.RUN)


@click.command(
    "doctor",
    cls=Command,
    examples=(
        Example("Check this host", "cyrusquota doctor"),
        Example("Show only what is wrong", "cyrusquota doctor --quiet"),
        Example("Check Cyrus and the map, not Exim", "cyrusquota doctor --no-exim"),
    ),
)
@under(Heading.SOURCE)(
    "-C",
    "--config",
    metavar="FILE",
    shell_complete=file_names,
    default=imapdconf.DEFAULT_PATH,
    show_default=True,
    help="The imapd.conf to follow.",
)
@under(Heading.SOURCE)(
    "--service",
    metavar="NAME",
    help="The name in cyrus.conf of the lmtpd that Exim delivers to.  [default: lmtpunix, lmtp, or"
    " else the first]",
)
@exim_options
@under(Heading.MAP)(
    "--domain",
    metavar="NAME",
    help="The domain to ask Exim about, for users whose domain is not known.  [default: Exim's"
    " qualify_recipient]",
)
@under(Heading.MAP)(
    "--mirror",
    is_flag=True,
    help="Check an MX without Cyrus, where cyrusquota-mirror writes the map.",
)
@engine_options(with_store=True)
@_how(
    "--root",
    metavar="DIR",
    default="/",
    show_default=True,
    type=click.Path(exists=True, file_okay=False),
    help="Look for crontabs and units below DIR.",
)
@format_option("a paragraph for each finding")
@_how("-q", "--quiet", is_flag=True, help="Print only warnings and errors.")
def examine(
    config: str,
    service: Optional[str],
    path: Optional[str],
    mta: Optional[Exim],
    domain: Optional[str],
    mirror: bool,
    engine: EngineOptions,
    root: str,
    form: str,
    quiet: bool,
) -> int:
    """Check everything that the map depends on, and say what to do.

    Check imapd.conf and the quota database, the map and the rights to it, Exim's configuration and
    its answers about a full user and one who is not, and the crontab or the unit that runs
    cyrusquota-export. Nothing is changed. Run it as root; otherwise it says what it could not
    check. A finding that follows from another is held back until that one is gone.

    The exit status is 0 if nothing is worse than a note, 1 with warnings, 2 with errors.
    """
    runs_systemd = root == "/" and os.path.isdir(BOOTED)
    systemctl = shutil.which("systemctl", path="/usr/bin:/bin") if runs_systemd else None
    output = settings.exported(click.get_current_context())
    host = Host(config, path, mta, domain, Path(root), systemctl, service, output)
    shared = _shared(engine, host)
    if mirror:
        path = mirrored(click.get_current_context(), "path")
        findings = list(doctor.examine_mx(attrs.evolve(host, map=path), shared))
    else:
        findings = doctor.examine(host)
        if engine.store is not None:
            keeps_map = path is not None or output is not None
            findings = [*_but_the_map(findings, keeps_map), *doctor.engine.examine(shared)]
    shown = [one for one in findings if not quiet or one.severity.exit_status]
    worst = doctor.worst(findings)
    if form == "json":
        click.echo(json_text({"severity": worst.name.lower(), "findings": [*map(_object, shown)]}))
    else:
        screen = terminal()
        for one in shown:
            click.echo("\n".join(_lines(one, screen)))
        if not quiet:
            click.echo(_summary(findings))
    return worst.exit_status


def _but_the_map(findings: Iterable[Finding], keeps_map: bool) -> Iterator[Finding]:
    """Yield the findings; on a host that only publishes, none about a map and who uses it.

    That a transport tells Cyrus to ignore quotas matters there, too.
    """
    kinds = () if keeps_map else (*MAP_KINDS, *SCHEDULE_KINDS, *EXIM_KINDS)
    kept = ("transport-ignores-quota",)
    return (one for one in findings if one.kind not in kinds or one.kind.id in kept)


def _shared(engine: EngineOptions, host: Host) -> SharedEngine:
    """Return what there is to check about several hosts."""
    file = settings.applied(click.get_current_context()).file
    found = () if file is None else file.sections.get(settings_file.MIRROR, ())
    set_there = {one.key: one.text.strip() for one in found}
    is_local = set_there.get("key") == KeyForm.LOCAL.value
    reason = None
    if engine.store is not None:
        with contextlib.suppress(CyrusQuotaError):
            conf = imapdconf.load(host.config, host.service)
            reason = elsewhere(conf, Site.from_config(conf))
    return SharedEngine(
        engine.opened,
        engine.store,
        [name.strip() for name in set_there.get("expect", "").split(",") if name.strip()],
        key=(KeyForm.LOCAL if is_local else KeyForm.ADDRESS).value,
        elsewhere=reason,
        is_plain=bool(engine.values.get("plaintext_over_network")),
        hostname=protocol.holder_name(socket.gethostname(), "").rpartition(":")[0],
    )


def _object(one: Finding) -> dict[str, Any]:
    return {
        "id": one.kind.id,
        "severity": one.severity.name.lower(),
        "said": one.said,
        "do": one.advice,
        "commands": one.commands,
        "held_back": one.held_back,
    }


_COLOURS = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.ERROR: "red"}
_INDENT, _DO, _MORE = " " * 9, "Do: ", " " * 4
#: Where there is no terminal, and the longest line where there is one.
_WIDTH, _MAX_WIDTH = 80, 100
#: A space within a command of Cyrus's, which is not broken.
_COMMAND, _KEPT = re.compile(r"`[^`]*`"), "\x00"


def _lines(one: Finding, screen: Terminal) -> Iterator[str]:
    """Yield what was found, and what to do; a command has a line to itself, to be copied."""
    width = min(screen.width or _WIDTH, _MAX_WIDTH)
    severity = f"{one.severity.name.lower():8}"
    first, *more = _wrapped(f"{one.kind.id}: {one.said}", width, "", "")
    yield f"{screen.coloured(severity, _COLOURS.get(one.severity))} {first}"
    yield from (f"{_INDENT}{line}" for line in more)
    if one.do or one.commands:
        end = ":" if one.do and one.commands else ""
        yield from (f"{_INDENT}{line}" for line in _wrapped(f"{one.do}{end}", width, _DO, _MORE))
    for command in one.commands:
        yield f"{_INDENT}{_MORE}{screen.coloured(printable(command), 'cyan')}"
    if one.held_back:
        text = f"Held back until this is done: {', '.join(one.held_back)}"
        yield from (f"{_INDENT}{line}" for line in _wrapped(text, width, "", _MORE))


def _wrapped(text: str, width: int, first: str, more: str) -> list[str]:
    """Return `text` in lines; names and commands in it are not broken."""
    whole = _COMMAND.sub(lambda command: command[0].replace(" ", _KEPT), printable(text))
    lines = textwrap.wrap(
        whole,
        width - len(_INDENT),
        initial_indent=first,
        subsequent_indent=more,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_KEPT, " ") for line in lines] or [first]


def _summary(findings: Sequence[Finding]) -> str:
    """Return how many findings there are of each severity, the worst first."""
    counts = Counter(one.severity for one in findings)
    said = [
        count_of(counts[severity], severity.name.lower())
        for severity in (Severity.ERROR, Severity.WARNING, Severity.NOTE)
        if counts[severity]
    ]
    return f"Nothing was changed. {', '.join(said) or 'All is well'}."
