"""A program that prints options as `exim -bP` does, for machines without an Exim."""

from __future__ import annotations

from pathlib import Path

from cyrusquota.mta.exim import Exim

_PROGRAM = """\
#!/bin/sh
options={directory}/options
if [ "$1" = -C ]; then
    test "$2" != /dev/null || options={directory}/compiled
    shift 2
fi
if [ "$1" != -bP ] || [ ! -f "$options/$2" ]; then
    echo "exim: $* is not known here" >&2
    exit 1
fi
cat "$options/$2"
"""


class FakeExim:
    """An Exim below `directory` with its logs in `logs`, which prints what was set."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logs = directory / "log"
        self.conf = directory / "exim.conf"
        for made in (self.logs, directory / "options", directory / "compiled"):
            made.mkdir(parents=True)
        self.conf.write_text("# a configuration\n")
        self.set("log_file_path", f"{self.logs}/%slog")
        self.set("timezone", "UTC")
        self.set("spool_directory", str(directory))
        self.show("configure_file", f"{self.conf}\n")
        program = directory / "exim"
        program.write_text(_PROGRAM.format(directory=directory))
        program.chmod(0o755)
        self.exim = Exim(str(program))

    def set(self, option: str, value: str, *, compiled: bool = False) -> None:
        """Set an option, in the configuration or in the program itself."""
        where = "compiled" if compiled else "options"
        (self.directory / where / option).write_text(f"{option} = {value}\n")

    def show(self, asked: str, printed: str) -> None:
        """Print this for `exim -bP ASKED`."""
        (self.directory / "options" / asked).write_text(printed)
