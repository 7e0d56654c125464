"""Generate completion scripts for bash, zsh and fish, with click.

A script asks the program itself, so it does not change with the options. The scripts of click 8.1
differ from later ones: its script for zsh cannot be autoloaded. So those of the newest click are
committed; they work with every click from 8.1 on, except for fish with 8.4.0, which does not work
with its own script either.
"""

from __future__ import annotations

from typing import Iterator

from click.shell_completion import ShellComplete, get_completion_class

from tools.docs import CHECKOUT, Generated
from tools.docs.commands import PROGRAMS

#: The file of a program below completion/.
_NAMES = {"bash": "bash/{}", "zsh": "zsh/_{}", "fish": "fish/{}.fish"}
#: Text that only the scripts of a new enough click contain.
_MARKS = {
    "bash": (),
    "zsh": ("loadautofunc",),
    "fish": ("set -l response (env", 'string split "," $completion'),
}


def files() -> Iterator[Generated]:
    """Return a script for each program and shell for which this click makes the right one."""
    for shell, name in _NAMES.items():
        for program in PROGRAMS:
            script = _script(shell, program)
            if all(mark in script for mark in _MARKS[shell]):
                yield Generated(CHECKOUT / "completion" / name.format(program), script)


def _script(shell: str, program: str) -> str:
    kind = get_completion_class(shell)
    assert kind is not None
    variable = f"_{program}_COMPLETE".replace("-", "_").upper()
    # The bash class's own `source` runs bash to check its version.
    script = ShellComplete.source(kind(PROGRAMS[program], {}, program, variable))
    return "".join(f"{line.rstrip()}\n" for line in script.strip().splitlines())
