"""cyrusquota doctor: check everything that the map depends on."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Optional, Sequence

import click

from cyrusquota import doctor
from cyrusquota.cli import settings
from cyrusquota.cli.command import Command, Example, Heading, under
from cyrusquota.cli.exim_options import exim_options
from cyrusquota.cli.json_format import format_option, json_text
from cyrusquota.cli.option_types import file_names
from cyrusquota.cli.terminal import Terminal, terminal
from cyrusquota.cyrus import imapdconf
from cyrusquota.doctor import Finding, Host, Severity
from cyrusquota.errors import count_of, printable
from cyrusquota.mta.exim import Exim

#: Exists while systemd is the init of this machine (sd_booted(3)).
_SYSTEMD = "/run/systemd/system"
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
@_how(
    "--root",
    metavar="DIR",
    default="/",
    show_default=True,
    type=click.Path(exists=True, file_okay=False),
    help="Look for crontabs and units below DIR.",
)
@format_option("a line for each finding")
@_how("-q", "--quiet", is_flag=True, help="Print only warnings and errors.")
def examine(
    config: str,
    service: Optional[str],
    path: Optional[str],
    mta: Optional[Exim],
    domain: Optional[str],
    root: str,
    form: str,
    quiet: bool,
) -> int:
    """Check everything that the map depends on, and say what to do.

    Check imapd.conf and the quota database, the map and the rights to it, Exim's configuration and
    its answers about a full user and one who is not, and the crontab or the unit that runs
    cyrusquota-export. Nothing is changed. Run it as root; otherwise it says what it could not
    check.

    The exit status is 0 if nothing is worse than a note, 1 with warnings, 2 with errors.
    """
    runs_systemd = root == "/" and os.path.isdir(_SYSTEMD)
    systemctl = shutil.which("systemctl", path="/usr/bin:/bin") if runs_systemd else None
    output = settings.exported(click.get_current_context())
    host = Host(config, path, mta, domain, Path(root), systemctl, service, output)
    findings = list(doctor.examine(host))
    shown = [one for one in findings if not quiet or one.kind.severity.exit_status]
    worst = doctor.worst(findings)
    if form == "json":
        click.echo(json_text({"severity": worst.name.lower(), "findings": [*map(_object, shown)]}))
    else:
        screen = terminal()
        for one in shown:
            click.echo(_line(one, screen))
        if not quiet:
            click.echo(_summary(findings))
    return worst.exit_status


def _object(one: Finding) -> dict[str, str]:
    severity = one.kind.severity.name.lower()
    return {"id": one.kind.id, "severity": severity, "said": one.said, "do": one.do}


_COLOURS = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.ERROR: "red"}


def _line(one: Finding, screen: Terminal) -> str:
    severity = f"{one.kind.severity.name.lower():8}"
    do = f"; {one.do}" if one.do else ""
    coloured = screen.coloured(severity, _COLOURS.get(one.kind.severity))
    return f"{coloured} {printable(f'{one.kind.id}: {one.said}{do}')}"


def _summary(findings: Sequence[Finding]) -> str:
    """Return how many findings there are of each severity, the worst first."""
    counts = Counter(one.kind.severity for one in findings)
    said = [
        count_of(counts[severity], severity.name.lower())
        for severity in (Severity.ERROR, Severity.WARNING, Severity.NOTE)
        if counts[severity]
    ]
    return f"Nothing was changed. {', '.join(said) or 'All is well'}."
