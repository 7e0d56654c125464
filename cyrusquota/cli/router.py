"""cyrusquota router: print the router for Exim that fits this site."""

from __future__ import annotations

import re
from typing import Iterator, Optional

import click

from cyrusquota import maps
from cyrusquota.cli.command import Command, Example, Heading, under
from cyrusquota.cli.option_types import file_names, size_given
from cyrusquota.cyrus import imapdconf
from cyrusquota.errors import OptionError, printable
from cyrusquota.maps import KeyForm
from cyrusquota.maps.installed import DEFAULT_MAX_AGE, DEFAULT_PATH
from cyrusquota.mta import router_files
from cyrusquota.mta.router_files import ADDRESS_KEY, PLAIN, VARIANTS

#: Characters that mean nothing to Exim in a list or a string expansion.
_PATH = re.compile(r"/[A-Za-z0-9._/+=,@-]+", re.ASCII)
_DOMAIN = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_map, _written = under(Heading.MAP), under(Heading.WRITTEN)


@click.command(
    "router",
    cls=Command,
    examples=(
        Example("Print the router that fits this site", "cyrusquota router"),
        Example(
            "Print the one that lets some senders through", "cyrusquota router --variant exemptions"
        ),
    ),
)
@under(Heading.SOURCE)(
    "-C",
    "--config",
    metavar="FILE",
    shell_complete=file_names,
    help="The imapd.conf that says whether there are virtual domains."
    f"  [default: {imapdconf.DEFAULT_PATH}]",
)
@_map(
    "--map",
    "path",
    metavar="FILE",
    shell_complete=file_names,
    help=f"The map.  [default: {DEFAULT_PATH}, and with cdb {DEFAULT_PATH}.cdb]",
)
@_map(
    "--map-format",
    type=click.Choice(list(maps.FORMATS)),
    default="lsearch",
    show_default=True,
    help="The format of the map.",
)
@_map(
    "--key",
    type=click.Choice([form.value for form in KeyForm]),
    default=KeyForm.AUTO.value,
    show_default=True,
    help="The keys of the map. auto: as virtdomains in imapd.conf says.",
)
@_map(
    "--headroom",
    metavar="SIZE",
    callback=size_given,
    help="The map also lists users with less than this left.",
)
@_map("--refuse", is_flag=True, help="The map refuses mail permanently.")
@_written(
    "--variant",
    type=click.Choice(VARIANTS),
    help="The router to print; exim/README.md describes them.  [default: the one that fits]",
)
@_written(
    "--max-age",
    metavar="SECONDS",
    type=click.IntRange(min=1),
    default=DEFAULT_MAX_AGE,
    show_default=True,
    help="A map that has not been renewed for so long is ignored.",
)
def print_router(
    config: Optional[str],
    path: Optional[str],
    map_format: str,
    key: str,
    headroom: int,
    refuse: bool,
    variant: Optional[str],
    max_age: int,
) -> None:
    """Print the router for Exim that fits this site.

    It belongs into the routers section of Exim's configuration, after the aliases and before the
    router that delivers to Cyrus. Path, key and age of the map are filled in, from the settings of
    the export and imapd.conf. What some variants need in the ACL section follows the router.
    """
    if variant is None:
        variant = _fitting(map_format, has_headroom=bool(headroom), refuse=refuse)
    macros = {"CYRUSQUOTA_MAX_AGE": str(max_age)}
    if path is not None:
        macros["CYRUSQUOTA_MAP"] = _checked("--map", path, _PATH)
    if key == KeyForm.ADDRESS.value:
        macros["CYRUSQUOTA_KEY"] = ADDRESS_KEY
    elif key == KeyForm.AUTO.value:
        naming = imapdconf.load(config or imapdconf.DEFAULT_PATH).naming
        if naming.virtdomains:
            macros["CYRUSQUOTA_KEY"] = ADDRESS_KEY
            variant = "address" if variant == PLAIN else variant
        if naming.defaultdomain is not None:
            domain = _checked("defaultdomain", naming.defaultdomain, _DOMAIN)
            macros["CYRUSQUOTA_DEFAULT_DOMAIN"] = domain
    click.echo("\n".join(_parts(variant, macros)), nl=False)


def _parts(variant: str, macros: dict[str, str]) -> Iterator[str]:
    yield router_files.filled(router_files.router(variant), macros)
    acl = router_files.acl(variant)
    if acl is not None:
        yield router_files.filled(acl, macros)


def _fitting(map_format: str, *, has_headroom: bool, refuse: bool) -> str:
    """Return the variant for such a map; raise `OptionError` where there is none."""
    if map_format == "postfix":
        raise OptionError("--map-format postfix is for Postfix; postfix/README.md says how")
    plain = "-".join(
        name for name, wanted in (("headroom", has_headroom), ("refuse", refuse)) if wanted
    )
    if map_format == "lsearch":
        return plain or PLAIN
    if plain:
        raise OptionError(
            f"--map-format {map_format} with --{plain.replace('-', ' and --')}: there is no router"
            " for both; use lsearch, or choose with --variant"
        )
    return map_format


def _checked(name: str, value: str, expected: re.Pattern[str]) -> str:
    """Return `value` if Exim takes it as it is; raise `OptionError` otherwise."""
    if expected.fullmatch(value):
        return value
    raise OptionError(
        f"{name} {printable(value)}: Exim's configuration needs a plain one here, an absolute path"
        " without blanks or a domain; choose another, or write the router by hand"
    )
