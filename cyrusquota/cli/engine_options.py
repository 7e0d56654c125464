"""The engine that hosts share: --engine and --store, and the section [engine] of the settings file.

Only the URL and the name of the store can be given on the command line, which every user of the
host can read. What speaks to the engine is imported only where one is named.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional

import attrs
import click
from click.core import ParameterSource

from cyrusquota.cli import settings, settings_file
from cyrusquota.cli.command import Heading, Option, under
from cyrusquota.cli.option_types import file_names
from cyrusquota.errors import OptionError
from cyrusquota.maps.installed import DEFAULT_PATH

if TYPE_CHECKING:
    from cyrusquota.engine.redis import RedisEngine

_URL_HELP = (
    "The engine that hosts share: redis://HOST[:PORT], rediss:// for TLS, unix:PATH, or"
    " redis+sentinel://HOST,HOST,HOST/MASTER. User, password file and certificates are in [engine]"
    " of the settings file."
)
_STORE_HELP = "The name of the set of users that this host publishes."


def _path(name: str, text: str) -> Option:
    return Option(
        [f"--{name}"],
        metavar="FILE",
        heading=Heading.ENGINE,
        shell_complete=file_names,
        help=text,
    )


def store_name(
    context: click.Context, parameter: click.Parameter, name: Optional[str]
) -> Optional[str]:
    if name is not None:
        from cyrusquota.engine.protocol import check_store_name

        check_store_name(name)
    return name


def store_names(
    context: click.Context, parameter: click.Parameter, given: Optional[str]
) -> tuple[str, ...]:
    """Return the names in `store1,store2`; raise `OptionError` for what cannot be one."""
    names = tuple(name.strip() for name in (given or "").split(",") if name.strip())
    for name in names:
        store_name(context, parameter, name)
    return names


#: Not a command that can be run: the keys of the section [engine].
SECTION = click.Command(
    settings_file.ENGINE,
    params=[
        Option(["--url"], metavar="URL", heading=Heading.ENGINE, help=_URL_HELP),
        Option(
            ["--store"],
            metavar="NAME",
            heading=Heading.ENGINE,
            callback=store_name,
            help=f"{_STORE_HELP} With it, cyrusquota-export --follow publishes.",
        ),
        Option(["--user"], metavar="NAME", heading=Heading.ENGINE, help="The user at the server."),
        _path("password-file", "A file with the password of that user, in the first line."),
        Option(
            ["--sentinel-user"],
            metavar="NAME",
            heading=Heading.ENGINE,
            help="The user at the Sentinels.",
        ),
        _path("sentinel-password-file", "A file with the password of that user."),
        _path("ca-file", "The certificates of the authorities that may have signed the server's."),
        _path("cert-file", "The certificate that this host shows the server."),
        _path("key-file", "The key of that certificate."),
        Option(
            ["--plaintext-over-network"],
            is_flag=True,
            heading=Heading.ENGINE,
            help="Talk to a server on another host without TLS: anybody on the way can read the"
            " password and list users as full.",
        ),
    ],
)


@attrs.frozen
class EngineOptions:
    """The engine, as the command line and the settings file name it, and a store."""

    url: Optional[str]
    store: Optional[str]
    values: Mapping[str, Any]

    def opened(self) -> RedisEngine:
        """Return the engine; nothing is asked of it yet.

        Raises `OptionError` where none is named, and what is wrong with the options.
        """
        if self.url is None:
            raise OptionError(
                "expected the engine that hosts share; name it with --engine URL, or as url in"
                " [engine] of the settings file"
            )
        from cyrusquota.engine.address import Address, EngineConfig
        from cyrusquota.engine.redis import RedisEngine

        config = EngineConfig(Address.of(self.url), **self.values)
        config.check_files()
        return RedisEngine(config)


def engine_options(
    *, needs: Optional[str] = None, with_store: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options, and `engine`, which they and the settings file amount to."""
    option = under(Heading.ENGINE)
    options = [option("--engine", metavar="URL", needs=needs, help=_URL_HELP)]
    if with_store:
        options.append(
            option(
                "--store",
                metavar="NAME",
                needs=needs,
                callback=store_name,
                help=_STORE_HELP,
            )
        )

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapped(engine: Optional[str], store: Optional[str] = None, **given: Any) -> Any:
            return command(engine=_options(engine, store), **given)

        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorated


def _options(url: Optional[str], store: Optional[str]) -> EngineOptions:
    file = settings.applied(click.get_current_context()).file
    found = {} if file is None else file.defaults(SECTION, click.Context(SECTION))
    options = {one.name or "": one for one in settings.options_of(SECTION).values()}
    values = {name: setting.value(options[name]) for name, setting in found.items()}
    return EngineOptions(url, store, {k: v for k, v in values.items() if k not in ("url", "store")})


def mirrored(context: click.Context, parameter: str) -> str:
    """Return the map of the mirror on this host: that of `parameter`, of [mirror], or the usual.

    What [export] says of a map does not count.
    """
    given, setting = context.params[parameter], settings.applied(context).settings.get(parameter)
    is_own = context.get_parameter_source(parameter) is ParameterSource.COMMANDLINE
    if given is not None and (
        is_own or (setting is not None and setting.section != settings_file.EXPORT)
    ):
        return str(given)
    file = settings.applied(context).file
    found = () if file is None else file.sections.get(settings_file.MIRROR, ())
    return next((one.text.strip() for one in found if one.key == "output"), DEFAULT_PATH)
