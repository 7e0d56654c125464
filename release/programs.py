"""The `__main__.py` of cyrusquota.pyz, which is all programs: its file name decides.

As `cyrusquota-export` or `cyrusquota-mirror` (a link or a copy) it is that program. With any other
name it is `cyrusquota` with two more commands, `export` and `mirror`.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from cyrusquota.cli.export import export
from cyrusquota.cli.main import cyrusquota
from cyrusquota.cli.mirror import mirror
from cyrusquota.cli.run import run


def main() -> NoReturn:
    name = os.path.basename(sys.argv[0])
    for command in (export, mirror):
        if name.startswith(f"cyrusquota-{command.name}"):
            run(command, name)
        cyrusquota.add_command(command)
    run(cyrusquota, name)


if __name__ == "__main__":
    main()
