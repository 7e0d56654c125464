"""[engine] of the settings file: how the commands reach the engine, and what they do not take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Optional

import click
import pytest

from cyrusquota.cli import engine_options
from cyrusquota.cli.engine_options import EngineOptions
from cyrusquota.cli.export import export
from cyrusquota.cli.mirror import mirror
from cyrusquota.engine.address import EngineConfig
from cyrusquota.errors import EngineForbidden
from tests.unit.programs import Program

pytestmark = pytest.mark.usefixtures("here")

ALL = """\
[engine]
url = rediss://redis.example.org
store = store1
user = backend-store1
password-file = password
sentinel-user = sentinel
sentinel-password-file = other
ca-file = ca.crt
cert-file = host.crt
key-file = host.key
plaintext-over-network = yes
"""


def _options(command: click.Command, text: str, *words: str) -> EngineOptions:
    """Return the engine that a command takes from a settings file and its own words."""
    Path("conf").write_text(text)
    found: list[EngineOptions] = []

    @engine_options.engine_options(with_store=True)
    def take(engine: EngineOptions) -> None:
        found.append(engine)

    context = command.make_context(command.name, ["--settings=conf", *words])
    given = {name: context.params.get(name) for name in ("engine", "store")}
    with context:
        take(**given)
    return found[0]


def test_all_of_it_reaches_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[EngineConfig] = []
    monkeypatch.setattr("cyrusquota.engine.redis.RedisEngine", made.append)
    for name in ("ca.crt", "host.crt", "host.key"):
        Path(name).write_text("")
    found = _options(export, ALL, "--follow")
    assert (found.url, found.store) == ("rediss://redis.example.org", "store1")
    found.opened()
    (config,) = made
    assert config.address.tls
    assert (config.user, config.password_file) == ("backend-store1", "password")
    assert (config.sentinel_user, config.sentinel_password_file) == ("sentinel", "other")
    assert (config.ca_file, config.cert_file, config.key_file) == (
        "ca.crt",
        "host.crt",
        "host.key",
    )
    assert config.plaintext_over_network


def test_the_command_line_wins() -> None:
    found = _options(export, ALL, "--follow", "--engine", "redis://localhost", "--store", "other")
    assert (found.url, found.store) == ("redis://localhost", "other")
    assert found.values["user"] == "backend-store1"


def test_naming_the_source_does_not_set_it_aside() -> None:
    found = _options(export, ALL, "--follow", "--db", "quotas.db")
    assert (found.url, found.store) == ("rediss://redis.example.org", "store1")


def test_the_user_at_the_server_is_not_the_one_to_read_as() -> None:
    Path("conf").write_text(ALL)
    context = export.make_context("export", ["--settings=conf", "--follow"])
    assert context.params["user"] is None


def test_a_mirror_has_no_store() -> None:
    found = _options(mirror, ALL, "-o", "map")
    assert found.url == "rediss://redis.example.org"
    assert found.store is None


def test_without_a_file_there_is_none() -> None:
    found = _options(export, "")
    assert (found.url, found.store, found.values) == (None, None, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[engine]\npassword = secret\n", "conf, line 2: [engine] password: unknown"),
        ("[engine]\nstore = a b\n", "conf, line 2: [engine] store: store"),
        ("[mirror]\nengine = redis://h\n", "[mirror] engine: several commands need it"),
        ("[export]\nstore = store1\n", "write it as store below [engine]"),
        ("[engine]\nplaintext-over-network = perhaps\n", "expected yes or no"),
    ],
)
def test_mistakes_name_the_line(run: Program, text: str, said: str) -> None:
    Path("conf").write_text(text)
    done = run("settings", "--settings=conf", "--check")
    assert done.status == 78
    assert said in done.err


def test_a_certificate_that_is_not_there_is_found_at_the_start() -> None:
    found = _options(export, ALL)
    with pytest.raises(EngineForbidden, match=r"ca\.crt"):
        found.opened()


def test_what_is_in_force_is_shown(run: Program) -> None:
    Path("conf").write_text(ALL)
    shown: dict[str, Any] = json.loads(
        run("settings", "--settings=conf", "--format", "json", "engine", "export").out
    )
    commands: dict[str, dict[str, dict[str, Optional[object]]]] = shown["commands"]
    assert commands["engine"]["user"] == {"value": "backend-store1", "section": "engine", "line": 4}
    assert commands["export"]["engine"]["value"] == "rediss://redis.example.org"
    assert commands["export"]["user"]["value"] is None


def test_the_command_that_prints_functions_has_no_settings(run: Program) -> None:
    Path("conf").write_text(ALL)
    assert run("engine", "--settings=conf", "functions").out.startswith("#!lua name=cyrusquota_")


def test_the_map_of_a_mirror_is_that_of_its_section(run: Program) -> None:
    """What [export] has is another map."""
    Path("conf").write_text("[export]\noutput = exported\n[mirror]\noutput = mirrored\n")
    assert "mirrored.stores: there is no report" in run("check", "--settings=conf", "--mirror").out
    given = run("check", "--settings=conf", "--mirror", "--map", "given").out
    assert "given.stores: there is no report" in given
    Path("conf").write_text("[mirror]\noutput = mirrored\n[check]\nmap = own\nmirror = yes\n")
    assert "own.stores: there is no report" in run("check", "--settings=conf").out
