"""`cyrusquota router` prints what exim/ has, with what the site has in place of the defaults."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Callable

import pytest

from cyrusquota.mta.router_files import VARIANTS
from tests.unit.programs import Ran, program
from tools.docs import CHECKOUT

Run = Callable[..., Ran]
EXIM = CHECKOUT / "exim"
DIRECTORIES = {"plain": EXIM, **{name: EXIM / name for name in VARIANTS[1:]}}


@pytest.fixture
def run(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run `cyrusquota router` in a directory with an imapd.conf that has virtual domains."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "virtual.conf").write_text(
        "configdirectory: /x\nvirtdomains: userid\ndefaultdomain: example.org\n"
    )
    (tmp_path / "plain.conf").write_text("configdirectory: /x\n")
    return program(capfdbinary, monkeypatch, "router")


def _shipped(variant: str) -> str:
    directory = DIRECTORIES[variant]
    files = [directory / name for name in ("router.conf", "acl.conf")]
    return "\n".join(path.read_text("utf-8") for path in files if path.exists())


def _changed(old: str, new: str) -> list[str]:
    found = difflib.ndiff(old.splitlines(), new.splitlines())
    return [line[2:] for line in found if line.startswith("+ ")]


def test_every_directory_with_a_router_that_uses_the_map_is_a_variant() -> None:
    routers = {path: path.read_text("utf-8") for path in EXIM.rglob("router.conf")}
    using = {path.parent for path, text in routers.items() if "CYRUSQUOTA_MAP" in text}
    assert using == set(DIRECTORIES.values())


@pytest.mark.parametrize("variant", VARIANTS)
def test_with_the_defaults_it_is_the_file_in_exim(variant: str, run: Run) -> None:
    assert run("--variant", variant, "--key", "local") == Ran(0, _shipped(variant), "")


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_defaults_of_macros_are_filled_in(variant: str, run: Run) -> None:
    given = ("--map", "/m/map", "--max-age", "600", "--key", "address", "--variant", variant)
    changed = _changed(_shipped(variant), run(*given).out)
    has_key = "CYRUSQUOTA_KEY" in _shipped(variant)
    expected = {"CYRUSQUOTA_MAP = /m/map", "CYRUSQUOTA_MAX_AGE = 600"}
    assert {*changed} == expected | (
        {"CYRUSQUOTA_KEY = ${lc:$local_part@$domain}"} if has_key else set()
    )


@pytest.mark.parametrize(
    ("options", "variant"),
    [
        ("-C plain.conf", "plain"),
        ("-C virtual.conf", "address"),
        ("-C virtual.conf --key local", "plain"),
        ("-C plain.conf --headroom 5M", "headroom"),
        ("-C virtual.conf --headroom 5M", "headroom"),
        ("-C plain.conf --refuse", "refuse"),
        ("-C plain.conf --refuse --headroom 5M", "headroom-refuse"),
        ("-C virtual.conf --map-format cdb", "cdb"),
        ("-C virtual.conf --variant exemptions", "exemptions"),
    ],
)
def test_the_variant_and_the_key_fit_the_site(options: str, variant: str, run: Run) -> None:
    done = run(*options.split())
    assert (done.status, done.err) == (0, "")
    changed = _changed(_shipped(variant), done.out)
    if "virtual" in options and "local" not in options:
        default = "CYRUSQUOTA_DEFAULT_DOMAIN = example.org"
        key = "CYRUSQUOTA_KEY = ${lc:$local_part@$domain}"
        assert {*changed} == {default if variant == "address" else key}
    else:
        assert changed == []


def test_the_settings_of_the_export_say_what_fits(run: Run, tmp_path: Path) -> None:
    (tmp_path / "conf").write_text(
        "[common]\nconfig = plain.conf\n[export]\noutput = /m/map.cdb\nmap-format = cdb\n"
        "key = address\n[router]\nmax-age = 900\n"
    )
    assert {*_changed(_shipped("cdb"), run("--settings=conf").out)} == {
        "CYRUSQUOTA_MAP = /m/map.cdb",
        "CYRUSQUOTA_MAX_AGE = 900",
        "CYRUSQUOTA_KEY = ${lc:$local_part@$domain}",
    }


@pytest.mark.parametrize("path", ["map", "/a b", "/a}b", "/a$b", "/a:b", "/a\\b", "/a\nb"])
def test_a_path_that_means_something_to_exim_is_refused(path: str, run: Run) -> None:
    done = run("--key", "local", "--map", path)
    assert (done.status, done.out) == (64, "")
    assert re.match("cyrusquota: --map .*: Exim's configuration needs a plain one", done.err)
