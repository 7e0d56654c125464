"""The settings file: values for the long options of the commands, which the command line replaces.

[common] has what several commands share, and each other section the options of one command.
Commands that look at the export also take from [export] what they need. [notify DOMAIN] has what is
different in letters to one domain.
"""

from __future__ import annotations

import os
import re
from typing import Any, Iterator, Mapping, Optional, Union

import attrs
import click
from click.core import ParameterSource

from cyrusquota.cli import settings_file
from cyrusquota.cli.command import Heading, heading_of
from cyrusquota.cli.settings_file import BY_DOMAIN, COMMON, ENGINE, EXPORT, Setting
from cyrusquota.cyrus.names import ascii_lower
from cyrusquota.errors import OptionError, printable

#: Where in `Context.meta` it is kept what was applied.
_APPLIED = "cyrusquota.settings"
DEFAULT_PATH = "/etc/cyrusquota.conf"
#: The environment variable that names the file where --settings does not; empty for none.
VARIABLE = "CYRUSQUOTA_SETTINGS"

#: The commands that take from [export] what they need to know about the map.
_LOOK_AT_EXPORT = ("check", "metrics", "doctor", "explain", "router", "notify")
#: What they take besides where the quotas are and who is over.
_ABOUT_THE_MAP = ("output", "key", "headroom", "max-change", "map-format", "refuse")
#: Options that belong to a single run.
_SINGLE_RUN = ("settings", "check", "follow", "dry-run", "accept-change", "version", "help")
#: Options that are keys of [engine] in the file.
_OF_ENGINE = {"engine": "url", "store": "store"}
#: Naming the source on the command line sets aside what the file says under the other headings.
_NAMES_SOURCE = ("config", "db", "quota_output", "dump")
_STAYS = (Heading.ROOTS, Heading.ALERTS, Heading.ENGINE, Heading.LETTERS, Heading.RUN)
#: On the command line each of these sets aside the other.
_EXCLUDE = {
    "mailboxes": ("no_mailboxes",),
    "no_mailboxes": ("mailboxes",),
    "program": ("no_exim",),
    "exim_config": ("no_exim",),
    "domain": ("no_exim",),
    "no_exim": ("program", "exim_config", "domain"),
    "lmtp": ("sendmail",),
    "sendmail": ("lmtp",),
}
_DOMAIN_KEYS = ("templates", "from")
_OPTION_NAME = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


@attrs.frozen
class SettingsFile:
    """A settings file: its path, and the settings in each section."""

    path: str
    sections: Mapping[str, tuple[Setting, ...]]

    def defaults(self, command: click.Command, context: click.Context) -> dict[str, Setting]:
        """Return what the file sets for `command`, by the name of the parameter.

        Raises `ConfigError` for an unknown key and for a bad value.
        """
        found: dict[str, Setting] = {}
        for setting in self._layers(command):
            option = options_of(command).get(_own_name(setting, command))
            if option is not None:
                _check(setting, option, context)
                found[option.name or ""] = setting
        if command.name == BY_DOMAIN:
            self.by_domain(command, context)
        return found

    def by_domain(
        self, command: click.Command, context: click.Context
    ) -> dict[str, dict[str, Setting]]:
        """Return what sections such as [notify example.org] set, by domain and parameter.

        Raises `ConfigError` as `defaults` does.
        """
        found: dict[str, dict[str, Setting]] = {}
        options = options_of(command)
        for name, settings in self.sections.items():
            kind, _, domain = name.partition(" ")
            if kind != command.name or not domain:
                continue
            for setting in settings:
                if setting.key not in _DOMAIN_KEYS:
                    raise setting.error(f"not for one domain; those are {', '.join(_DOMAIN_KEYS)}")
                option = options[setting.key]
                _check(setting, option, context)
                found.setdefault(ascii_lower(domain.strip()), {})[option.name or ""] = setting
        return found

    def _layers(self, command: click.Command) -> Iterator[Setting]:
        """Yield what matters to `command`; the last of several with the same name counts."""
        shared = _shared()
        for setting in self.sections.get(COMMON, ()):
            if setting.key not in shared:
                raise setting.error(
                    f"not an option that several commands share; those are {', '.join(shared)}"
                )
            yield setting
        name = command.name or ""
        if name in _LOOK_AT_EXPORT:
            options = options_of(_export())
            for setting in self.sections.get(EXPORT, ()):
                _check_key(setting, options)
                if setting.key in shared or setting.key in _ABOUT_THE_MAP:
                    yield setting
        if "engine" in options_of(command):
            for setting in self.sections.get(ENGINE, ()):
                _check_key(setting, options_of(_engine()))
                yield setting
        if name == ENGINE and command is not _engine():
            # `cyrusquota engine` has no settings; the section is about the server.
            return
        for setting in self.sections.get(name, ()):
            _check_key(setting, options_of(command))
            yield setting


@attrs.frozen
class Applied:
    """The settings file that was applied to a command, if any, and its settings by parameter."""

    file: Optional[SettingsFile]
    settings: Mapping[str, Setting]


def apply(context: click.Context, given: Mapping[str, Any]) -> None:
    """Let the settings file give the defaults of a command; `given` is on the command line.

    Raises `ConfigError` for a file that cannot be followed.
    """
    file = find(given.get("settings"))
    command = context.command
    settings = {} if file is None else file.defaults(command, context)
    options = {option.name or "": option for option in options_of(command).values()}
    if any(name in given for name in _NAMES_SOURCE):
        settings = {k: v for k, v in settings.items() if heading_of(options[k]) in _STAYS}
    if os.geteuid() != 0:
        # Only root can read with the rights of another user.
        settings.pop("user", None)
    for name in given:
        for other in _EXCLUDE.get(name, ()):
            settings.pop(other, None)
    context.default_map = {name: one.value(options[name]) for name, one in settings.items()}
    context.meta[_APPLIED] = Applied(file, settings)


def find(path: Optional[str]) -> Optional[SettingsFile]:
    """Return the settings file at `path`, or by default the usual one; None if there is none."""
    path = os.environ.get(VARIABLE) if path is None else path
    if path is None and not os.path.lexists(DEFAULT_PATH):
        return None
    return None if path == "" else load(DEFAULT_PATH if path is None else path)


def load(path: str) -> SettingsFile:
    """Read a settings file; raise `ConfigError` if it is not one, or must not be trusted."""
    return SettingsFile(path, settings_file.read(path))


def applied(context: click.Context) -> Applied:
    """Return what was applied to a command."""
    found = context.meta.get(_APPLIED, Applied(None, {}))
    assert isinstance(found, Applied)
    return found


def exported(context: click.Context) -> Optional[str]:
    """Return the map that the export writes by the settings file, if that names one."""
    file = applied(context).file
    found = () if file is None else file.sections.get(EXPORT, ())
    return next((one.text.strip() for one in found if one.key == "output"), None)


def place(context: click.Context, name: str) -> Optional[str]:
    """Return where the file sets the parameter `name` of a command, if it does and that counts."""
    if context.get_parameter_source(name) is not ParameterSource.DEFAULT_MAP:
        return None
    setting = applied(context).settings.get(name)
    return None if setting is None else f"{setting.key} in {setting.path}, line {setting.line}"


def by_domain(context: click.Context) -> dict[str, dict[str, Any]]:
    """Return what the file sets for single domains, by domain and parameter; options set it aside.

    Raises `ConfigError` as `SettingsFile.defaults` does.
    """
    file, options = applied(context).file, options_of(context.command).values()
    by_name = {option.name or "": option for option in options}
    return {
        domain: {
            name: by_name[name].process_value(context, one.value(by_name[name]))
            for name, one in found.items()
            if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE
        }
        for domain, found in (
            {} if file is None else file.by_domain(context.command, context)
        ).items()
    }


def located(error: OptionError, context: click.Context) -> Exception:
    """Return `error` with the line of the settings file that has an option which it names."""
    settings = applied(context).settings
    named = {
        option.name or ""
        for option in context.command.params
        if not set(option.opts).isdisjoint(_OPTION_NAME.findall(str(error)))
    }
    found = [
        settings[name]
        for name in named
        if name in settings
        and context.get_parameter_source(name) in (None, ParameterSource.DEFAULT_MAP)
    ]
    if not found:
        return error
    first = min(found, key=lambda setting: setting.line)
    sources = {context.get_parameter_source(name) for name in named}
    if ParameterSource.COMMANDLINE in sources:
        place = f"{printable(first.path)}, line {first.line}"
        return OptionError(f"{error} ({first.key} is set in {place})")
    return first.error(str(error))


def _export() -> click.Command:
    # Only now: the export itself needs this module.
    from cyrusquota.cli.export import export

    return export


def _engine() -> click.Command:
    from cyrusquota.cli.engine_options import SECTION

    return SECTION


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Return the options that a file may set for `command`, by their long names."""
    return {
        long_name(option): option
        for option in command.params
        if isinstance(option, click.Option) and long_name(option) not in _SINGLE_RUN
    }


def long_name(option: click.Parameter) -> str:
    """Return the long name of an option, without dashes: what it is called in the file."""
    return max(option.opts, key=len).lstrip("-")


def _shared() -> tuple[str, ...]:
    """Return the options that [common] may have."""
    return tuple(
        name
        for name, option in options_of(_export()).items()
        if heading_of(option) in (Heading.SOURCE, Heading.WHO)
    )


def _own_name(setting: Setting, command: click.Command) -> str:
    """Return the name that `command` has for a setting: what the export writes, others look at."""
    if setting.section == EXPORT and setting.key == "output" and command.name != EXPORT:
        return "map"
    if setting.section == ENGINE and command.name != ENGINE:
        # The others are about the server, and no options of the command.
        return next((name for name, key in _OF_ENGINE.items() if key == setting.key), "")
    return setting.key


def _check_key(setting: Setting, options: Mapping[str, click.Option]) -> None:
    if setting.section != ENGINE and setting.key in _OF_ENGINE:
        key = _OF_ENGINE[setting.key]
        raise setting.error(f"several commands need it; write it as {key} below [{ENGINE}]")
    if setting.key in _SINGLE_RUN:
        raise setting.error("belongs on the command line; remove it here")
    if setting.key not in options:
        raise setting.error(f"unknown; the options are {', '.join(options)}")


def _check(setting: Setting, option: click.Option, context: click.Context) -> None:
    value: Union[str, bool, tuple[str, ...]] = setting.value(option)
    try:
        option.process_value(context, value)
    except click.BadParameter as error:
        raise setting.error(error.message) from None
    except OptionError as error:
        raise setting.error(str(error)) from None
