"""cyrusquota engine: what an administrator gives the server that hosts share."""

from __future__ import annotations

from typing import Optional

import click

from cyrusquota.cli.command import Command, Example, Heading, under
from cyrusquota.cli.engine_options import store_name
from cyrusquota.errors import OptionError

_engine = under(Heading.ENGINE)


@click.command(
    "engine",
    cls=Command,
    examples=(
        Example(
            "Print the functions, for `redis-cli -x FUNCTION LOAD REPLACE`",
            "cyrusquota engine functions",
        ),
        Example("Print the user for a backend", "cyrusquota engine acl --backend store1"),
        Example("Print the user for all MXes", "cyrusquota engine acl --mirror"),
    ),
)
@_engine(
    "--backend",
    metavar="STORE",
    callback=store_name,
    help="acl: the user that publishes this store, and can write to no other.",
)
@_engine("--mirror", is_flag=True, help="acl: the user that reads all stores.")
@_engine(
    "--admin",
    is_flag=True,
    help="acl: the user for `cyrusquota stores`, who may also remove stores and accept changes.",
)
@_engine(
    "--name",
    metavar="NAME",
    help="acl: the name of the user.  [default: backend-STORE, mirror or quota-admin]",
)
@click.argument("what", type=click.Choice(["functions", "acl"]))
def engine(
    what: str, backend: Optional[str], mirror: bool, admin: bool, name: Optional[str]
) -> None:
    """Print what the server that hosts share is given: functions, or lines of its ACL file.

    The server is Redis or Valkey. Load the functions again after each upgrade; those of other
    versions stay where they are, so that hosts can be upgraded one after the other. In the lines of
    the ACL file (aclfile in redis.conf), replace PASSWORD.
    """
    from cyrusquota.engine import functions

    kinds = (backend is not None) + mirror + admin
    if what == "functions":
        if kinds or name is not None:
            raise OptionError("engine functions: takes no options; leave them out")
        click.echo(functions.text(), nl=False)
        return
    if kinds != 1:
        raise OptionError("engine acl: expected one of --backend STORE, --mirror and --admin")
    if backend is not None:
        line = functions.backend_rights(name or f"backend-{backend}", backend)
    elif mirror:
        line = functions.mirror_rights(name or "mirror")
    else:
        line = functions.administrator_rights(name or "quota-admin")
    click.echo(line)
