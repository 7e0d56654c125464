"""The three ways of docs/choosing.md, installed as the files in exim/ say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, Optional

import attrs

from . import exim, smtp
from .cyrus import Cyrus
from .exim_daemon import VARIANTS, Variant

CALLOUT = exim.DIRECTORY / "callout"
SMMAPD = exim.DIRECTORY / "smmapd"


@attrs.frozen
class Recipe:
    """What is installed on either side."""

    variant: Variant
    #: What Exim has to know: its macros, in which {port} is that of the service.
    macros: dict[str, str] = attrs.Factory(dict)
    #: A line for cyrus.conf, and options for imapd.conf.
    service: Optional[Path] = None
    options: Optional[Path] = None


RECIPES = {
    "callout": Recipe(
        Variant(
            CALLOUT / "router.conf",
            acl=CALLOUT / "acl.conf",
            condition="require acl = cyrusquota_callout",
            transport=CALLOUT / "transport.conf",
        ),
        {"CYRUSQUOTA_LMTP_PORT": "{port}"},
        CALLOUT / "cyrus.conf",
        CALLOUT / "imapd.conf",
    ),
    "smmapd": Recipe(
        Variant(SMMAPD / "router.conf"),
        {"CYRUSQUOTA_SMMAPD": "inet:127.0.0.1:{port}"},
        SMMAPD / "cyrus.conf",
    ),
    "map": Recipe(VARIANTS["lsearch"]),
}


@attrs.frozen
class Installed:
    """A recipe in use: the port of its service, 0 without one, and Exim's macros."""

    recipe: Recipe
    port: int
    macros: dict[str, str]


def install(cyrus: Cyrus, recipe: Recipe, *, maxchild: Optional[int] = None) -> Installed:
    """Add what a recipe needs to the configuration of a Cyrus that has not started yet."""
    if recipe.service is None:
        return Installed(recipe, 0, recipe.macros)
    (port,) = smtp.free_ports(1)
    if recipe.options is not None:
        cyrus.configure(dict(line.split(": ", 1) for line in _lines(recipe.options)))
    for line in _lines(recipe.service):
        moved = re.sub(r'listen="127\.0\.0\.1:\d+"', f'listen="127.0.0.1:{port}"', line)
        assert moved != line
        cyrus.add_service(moved if maxchild is None else f"{moved} maxchild={maxchild}")
    macros = {name: value.format(port=port) for name, value in recipe.macros.items()}
    return Installed(recipe, port, macros)


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text("ascii").splitlines():
        if line and not line.startswith("#"):
            yield line
