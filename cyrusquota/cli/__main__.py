from __future__ import annotations

from cyrusquota.cli.main import main

main()
