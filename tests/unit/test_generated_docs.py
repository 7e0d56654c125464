"""The generated files are current, and say what --help says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tools.docs import CHECKOUT, Generated, commands, completion, errors, man, routers

GENERATED = [*man.files(), *completion.files(), *errors.files(), *routers.files()]


@pytest.mark.parametrize("file", GENERATED, ids=lambda file: "/".join(file.path.parts[-2:]))
def test_a_generated_file_is_current(file: Generated) -> None:
    assert file.is_current, f"{file.path} is out of date: make man"


def test_every_program_has_a_script_for_every_shell() -> None:
    kept = {path.name for path in (CHECKOUT / "completion").glob("*/*")}
    assert kept == {
        name
        for program in commands.PROGRAMS
        for name in (program, f"_{program}", f"{program}.fish")
    }


@pytest.mark.parametrize("name", [command.name for command in commands.every()])
def test_the_manual_has_every_option_that_help_shows(name: str) -> None:
    """The program itself is asked, not the generator."""
    program, *words = name.split()
    module = "cyrusquota.cli" if program == "cyrusquota" else program.replace("-", ".cli.")
    line = [sys.executable, "-m", module, *words, "--help"]
    environment = {**os.environ, "COLUMNS": "200", "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(line, capture_output=True, check=True, env=environment, text=True)
    shown = re.findall(r"(?:^  |(?<=\w, ))(-[-\w]+)", done.stdout, re.MULTILINE)
    page = next((CHECKOUT / "man").glob(f"{program}.[18]"))
    bold = page.read_text().replace("\\-", "-")
    assert {"-h", "--help"} <= set(shown)
    assert [option for option in shown if f"\\fB{option}\\fP" not in bold] == []


def test_a_file_that_is_out_of_date_is_noticed_and_written(tmp_path: Path) -> None:
    file = Generated(tmp_path / "page", "new\n")
    (tmp_path / "page").write_text("old\n")
    assert not file.is_current
    assert (file.write(), file.write(), file.is_current) == (True, False, True)
    assert (tmp_path / "page").read_text() == "new\n"


def test_every_option_that_takes_a_file_has_the_shell_complete_it() -> None:
    for program, command in commands.PROGRAMS.items():
        found = [command]
        if isinstance(command, click.Group):
            found += command.commands.values()
        for inner in found:
            context = click.Context(inner, info_name=program)
            for option in inner.params:
                if isinstance(option, click.Option) and option.metavar in ("FILE", "PATH"):
                    items = option.shell_complete(context, "quo")
                    assert [(item.type, item.value) for item in items] == [("file", "quo")], option
