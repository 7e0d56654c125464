"""The `__main__.py` of cyrusquota.pyz, which is both programs: its file name decides.

As `cyrusquota-export` (a link or a copy) it is that program. With any other name it is `cyrusquota`
with one more command, `export`.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from cyrusquota.cli.export import export
from cyrusquota.cli.main import cyrusquota
from cyrusquota.cli.run import run


def main() -> NoReturn:
    name = os.path.basename(sys.argv[0])
    if name.startswith("cyrusquota-export"):
        run(export, name)
    cyrusquota.add_command(export)
    run(cyrusquota, name)


if __name__ == "__main__":
    main()
