"""From an imapd.conf, a path or a stream to quota roots."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Callable

import pytest

import cyrusquota
from cyrusquota.cyrus.imapdconf import load
from cyrusquota.cyrus.names import Naming
from cyrusquota.errors import (
    BadDump,
    BadReport,
    BadValue,
    ConfigError,
    CyrusQuotaError,
    NoSuchSource,
    UnsupportedBackend,
)
from cyrusquota.quota import QuotaRoot, Usage
from cyrusquota.site import source
from tests.recorded_fixtures import TWOSKIP, main_roots, unpacked

Configured = Callable[..., source.Source]


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """The source of an imapd.conf whose configdirectory is `lib` in the test's directory."""

    def write(*lines: str) -> source.Source:
        path = tmp_path / "imapd.conf"
        path.write_text(
            "".join(f"{line}\n" for line in (f"configdirectory: {tmp_path}/lib", *lines))
        )
        return source.from_config(load(path))

    return write


@pytest.mark.parametrize(
    ("layout", "lines"),
    [
        ("plain", ()),
        ("plain", ("quota_db: quotalegacy", "fulldirhash: no", "hashimapspool: yes")),
        ("fulldirhash", ("fulldirhash: yes",)),
        ("virtdomains", ("virtdomains: userid",)),
    ],
)
def test_imapd_conf_leads_to_the_tree(
    layout: str, lines: tuple[str, ...], configured: Configured, tmp_path: Path
) -> None:
    unpacked(layout, tmp_path)
    found = configured(*lines)
    assert found.name == f"{tmp_path}/lib/quota"
    assert {root.name: root for root in found.roots()} == {
        name: root.root for name, root in main_roots().items()
    }


@pytest.mark.parametrize(
    ("layout", "lines", "roots"),
    [
        # Trees written under another configuration are not what Cyrus looks at.
        ("plain", ("fulldirhash: yes",), 0),
        ("fulldirhash", (), 0),
        ("virtdomains", (), 50),
        ("plain", ("virtdomains: on",), 50),
    ],
)
def test_stranded_files_are_not_read(
    layout: str, lines: tuple[str, ...], roots: int, configured: Configured, tmp_path: Path
) -> None:
    unpacked(layout, tmp_path)
    assert len(list(configured(*lines).roots())) == roots


@pytest.mark.parametrize("backend", ["twoskip", "skiplist", "flat"])
def test_imapd_conf_leads_to_the_file_whatever_its_format(
    backend: str, configured: Configured, tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    shutil.copy(TWOSKIP / "quotas.db", tmp_path / "lib" / "quotas.db")
    found = configured(f"quota_db: {backend}")
    assert found.name == f"{tmp_path}/lib/quotas.db"
    assert len(list(found.roots())) == 57


def test_quota_db_path_is_followed(configured: Configured) -> None:
    found = configured("quota_db: twoskip", f"quota_db_path: {TWOSKIP}/quotas.db")
    assert len(list(found.roots())) == 57


def test_a_stray_file_does_not_hide_a_tree(configured: Configured, tmp_path: Path) -> None:
    lib = unpacked("plain", tmp_path)
    (lib / "quotas.db").write_bytes(b"stray")
    assert len(list(configured().roots())) == 57


@pytest.mark.parametrize("lines", [(), ("quota_db: twoskip",), ("quota_db: sql",)])
def test_data_that_is_not_there_is_no_such_source(
    lines: tuple[str, ...], configured: Configured
) -> None:
    with pytest.raises(NoSuchSource):
        list(configured(*lines).roots())


def test_a_backend_that_cannot_be_read_is_unsupported(
    configured: Configured, tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "quotas.db").write_bytes(b"something")
    with pytest.raises(UnsupportedBackend, match="quota_db: zeroskip has the data"):
        list(configured("quota_db: zeroskip").roots())


@pytest.mark.parametrize("value", ["Twoskip", "twoskip2", "nonsense"])
def test_a_backend_that_cyrus_does_not_know_is_an_error(value: str, configured: Configured) -> None:
    with pytest.raises(ConfigError, match=f"option quota_db: .*found '{value}'"):
        configured(f"quota_db: {value}")


def test_naming_comes_from_imapd_conf(configured: Configured) -> None:
    found = configured("virtdomains: on", "defaultdomain: example.com")
    assert found.naming == Naming(virtdomains=True, defaultdomain="example.com")


@pytest.mark.parametrize("lines", [(), ("quota_db: twoskip",)])
def test_a_path_that_no_system_has_is_a_documented_error(
    lines: tuple[str, ...], configured: Configured
) -> None:
    with pytest.raises(CyrusQuotaError):
        list(configured("quota_db_path: /a\0b/quotas.db", *lines).roots())


def test_a_database_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "quota" / "j" / "user.jane"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"5 1\n")
    found = source.from_database(tmp_path)
    assert [root.storage.used for root in found.roots()] == [5]
    path.write_bytes(b"6 1\n")
    assert [root.storage.used for root in found.roots()] == [6]


def test_problems_name_the_file_and_the_root(tmp_path: Path) -> None:
    path = tmp_path / "quota" / "b" / "user.bad"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"garbage\n")
    with pytest.raises(BadValue, match=f"{tmp_path}, column 1, quota root 'user.bad'"):
        list(cyrusquota.read(tmp_path))


def test_a_dump_is_read_as_values() -> None:
    found = source.from_dump(io.BytesIO(b"user.jane\t5 1\nuser.empty\t\n"), "d")
    assert found.name == "d"
    assert list(found.roots()) == [QuotaRoot("user.jane", storage=Usage(5, 1024))]


def test_a_report_is_read_as_roots() -> None:
    found = source.from_report(io.BytesIO(b'{"user/jane": {"STORAGE": {"used": 5}}}'))
    assert list(found.roots()) == [QuotaRoot("user.jane", storage=Usage(5))]


def test_streams_that_break_off_raise() -> None:
    with pytest.raises(BadDump):
        list(source.from_dump(io.BytesIO(b"user.jane\t5 1")).roots())
    with pytest.raises(BadReport):
        list(source.from_report(io.BytesIO(b"{")).roots())


def test_all_public_names_exist() -> None:
    assert all(hasattr(cyrusquota, name) for name in cyrusquota.__all__)
    assert sorted(cyrusquota.__all__) == sorted(set(cyrusquota.__all__))
