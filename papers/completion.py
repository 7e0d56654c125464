"""Completion scripts for bash, zsh and fish, as click makes them.

The scripts ask the program itself, so they do not change with its options. How they ask is the same
from click 8.1 on, but for fish and 8.4.0, which does not work with its own script either. What they
are is not: click 8.1 makes one for zsh that cannot be autoloaded. So those of the newest click are
kept, and they work with all.
"""

from __future__ import annotations

from typing import Iterator

from click.shell_completion import ShellComplete, get_completion_class

from papers._file import CHECKOUT, Generated
from papers.commands import PROGRAMS

#: What the file of a program is called, below completion/.
_NAMES = {"bash": "bash/{}", "zsh": "zsh/_{}", "fish": "fish/{}.fish"}
#: What is found in the scripts that are kept, and not in those of every click.
_MARKS = {
    "bash": (),
    "zsh": ("loadautofunc",),
    "fish": ("set -l response (env", 'string split "," $completion'),
}


def files() -> Iterator[Generated]:
    """A script for each program and shell, but none that is not the kind to keep."""
    for shell, name in _NAMES.items():
        for program in PROGRAMS:
            script = _script(shell, program)
            if all(mark in script for mark in _MARKS[shell]):
                yield Generated(CHECKOUT / "completion" / name.format(program), script)


def _script(shell: str, program: str) -> str:
    kind = get_completion_class(shell)
    assert kind is not None
    variable = f"_{program}_COMPLETE".replace("-", "_").upper()
    # Not its own `source`, which runs a bash to see how old it is.
    script = ShellComplete.source(kind(PROGRAMS[program], {}, program, variable))
    return "".join(f"{line.rstrip()}\n" for line in script.strip().splitlines())
