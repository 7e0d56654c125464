"""Generate the man pages: the templates man/*.in, with the options of the commands filled in.

A line `@NAME@` of a template stands for something generated:

    @TITLE PAGE SECTION MANUAL@   the .TH line, with the date of the newest entry of CHANGELOG.md
    @SYNOPSIS COMMAND@            how a command is called
    @DESCRIPTION COMMAND@         the description that --help prints
    @OPTIONS COMMAND@             its options
    @EXAMPLES COMMAND@            its examples, or those of its subcommands
    @COMMON OPTIONS PROGRAM@      the options that several subcommands of a program share
    @SUBCOMMANDS PROGRAM@         a subsection for each subcommand, with its other options
    @EXIT STATUS@                 exit statuses, from errors.py
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Callable, Iterable, Iterator

from cyrusquota import __version__
from cyrusquota.cli.command import Heading
from tools.docs import CHECKOUT, Generated, commands, errors, roff
from tools.docs.commands import Command, Option

MAN = CHECKOUT / "man"
PAGES = ("cyrusquota-export.8", "cyrusquota-mirror.8", "cyrusquota.1")

_PLACE = re.compile(r"@(?P<what>[A-Z]+(?: (?:OPTIONS|STATUS))?)(?: (?P<of>.+))?@")
_DATED = re.compile(r"^## .* - (?P<date>\d{4}-\d\d-\d\d)$", re.MULTILINE)


def files() -> Iterator[Generated]:
    """Return every man page."""
    for page in PAGES:
        template = (MAN / f"{page}.in").read_text("utf-8")
        yield Generated(MAN / page, rendered(template))


def rendered(template: str) -> str:
    """Return a template with everything filled in."""
    lines: list[str] = []
    for line in template.splitlines():
        place = _PLACE.fullmatch(line)
        lines += [line] if place is None else _GENERATED[place["what"]](place["of"] or "")
    return "".join(f"{line}\n" for line in lines)


def _title(words: str) -> Iterator[str]:
    page, section, manual = words.split(" ", 2)
    dated = _DATED.search((CHECKOUT / "CHANGELOG.md").read_text("utf-8"))
    assert dated is not None, "CHANGELOG.md has no heading with a date"
    yield '.\\" Generated from the .in file beside it and the commands by `make man`.'
    yield f'.TH {page} {section} {dated["date"]} "cyrusquota {__version__}" "{manual}"'


def _synopsis(name: str) -> Iterator[str]:
    command = commands.command(name)
    words = name.split()
    yield f".B {roff.escaped(' '.join(words))}"
    yield from roff.text(command.usage)


def _description(name: str) -> Iterator[str]:
    return _paragraphs(commands.command(name))


def _options(name: str) -> Iterator[str]:
    return _sections(commands.command(name).options)


def _common_options(program: str) -> Iterator[str]:
    return _sections(_common(program))


def _subcommands(program: str) -> Iterator[str]:
    common = _common(program)
    for name in commands.subcommands(program):
        command = commands.command(name)
        yield f".SS {roff.escaped(name)}"
        yield f".B {roff.escaped(name)}"
        yield from roff.text(command.usage)
        yield ".PP"
        yield from _paragraphs(command)
        yield from _which_common(command, common)
        own = _by_heading(option for option in _own(program, name) if option not in common)
        for heading, options in own.items():
            yield from (".PP", f".I {roff.escaped(heading)}:") if len(own) > 1 else ()
            yield from _listed(options)


def _which_common(command: Command, common: list[Option]) -> Iterator[str]:
    taken = [option for option in common if option in command.options]
    missing = [option for option in common if option not in command.options]
    if not taken:
        return
    yield ".PP"
    if not missing:
        yield "Takes all of the common options below."
    elif len(missing) < len(taken):
        yield from roff.wrapped(f"Takes the common options below, except {_names(missing)}.")
    else:
        yield from roff.wrapped(f"Of the common options below it takes {_names(taken)}.")


def _names(options: Iterable[Option]) -> str:
    return ", ".join(roff.option(option.names[-1]) for option in options)


def _common(program: str) -> list[Option]:
    """Return the options that are the same in most subcommands, in the order of appearance."""
    names = commands.subcommands(program)
    count = Counter(option for name in names for option in _own(program, name))
    return [option for option, times in count.items() if times * 2 > len(names)]


def _own(program: str, name: str) -> list[Option]:
    """Return the options of a subcommand, without those that the program has itself."""
    inherited = commands.command(program).options
    return [option for option in commands.command(name).options if option not in inherited]


def _paragraphs(command: Command) -> Iterator[str]:
    for number, paragraph in enumerate(command.paragraphs):
        if number:
            yield ".PP"
        if paragraph.startswith("\b"):
            yield ".nf"
            for line in paragraph.splitlines()[1:]:
                yield from roff.text(line)
            yield ".fi"
        else:
            yield from roff.text(" ".join(paragraph.split()))


def _by_heading(options: Iterable[Option]) -> dict[str, list[Option]]:
    """Return the options under each heading, in the order of `Heading`."""
    found: dict[str, list[Option]] = {heading.value: [] for heading in Heading}
    for option in options:
        found[option.heading].append(option)
    return {heading: under for heading, under in found.items() if under}


def _sections(options: Iterable[Option]) -> Iterator[str]:
    """Return a subsection for each heading, or none if there is only one."""
    found = _by_heading(options)
    for heading, under in found.items():
        yield from (f".SS {roff.escaped(heading)}",) if len(found) > 1 else ()
        yield from _listed(under)


def _examples(name: str) -> Iterator[str]:
    names = commands.subcommands(name) or (name,)
    examples = [one for each in names for one in commands.command(each).examples]
    for number, example in enumerate(examples):
        yield from (".PP",) if number else ()
        yield from roff.text(f"{example.about}:")
        yield from (".PP", ".in +4n", ".EX", roff.escaped(example.line), ".EE", ".in")


def _listed(options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        yield ".TP"
        yield roff.option(option.spelling)
        yield from roff.text(option.text)
        if option.extra:
            extra = f"{option.extra[0].upper()}{option.extra[1:]}"
            yield from roff.text(f"({extra})" if extra.endswith(".") else f"({extra}.)")


def _exit_status(_: str) -> Iterator[str]:
    for status, text in errors.meanings().items():
        yield ".TP"
        yield f".B {status}"
        yield from roff.text(text)


_GENERATED: dict[str, Callable[[str], Iterable[str]]] = {
    "TITLE": _title,
    "SYNOPSIS": _synopsis,
    "DESCRIPTION": _description,
    "OPTIONS": _options,
    "EXAMPLES": _examples,
    "COMMON OPTIONS": _common_options,
    "SUBCOMMANDS": _subcommands,
    "EXIT STATUS": _exit_status,
}
