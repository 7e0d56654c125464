"""What cyrusquota.pyz runs: both programs, told apart by the name it is called under.

Called `cyrusquota-export`, as a link or a copy, it is that; under any other name it is `cyrusquota`
with one command more, `export`. This becomes the file's `__main__.py`.
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
