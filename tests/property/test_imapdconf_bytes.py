"""imapd.conf: what is written comes back, and any bytes load or raise `ConfigError`."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota.cyrus.imapdconf import ImapdConf, load
from cyrusquota.errors import ConfigError
from cyrusquota.site import source
from tests.property.strategies import NASTY, anything

_name = st.from_regex(r"\A[a-z0-9_-]{1,12}\Z")
_value = (
    st.text(st.characters(codec="utf-8", exclude_characters="\n\\"), min_size=1, max_size=20)
    .map(lambda text: text.strip(" \t\r\v\f"))
    .filter(bool)
)
_blank = st.sampled_from(["", " ", "\t", "  "])
_broken = st.sampled_from(["", "\\\n", "\\\n\\\n"])
_line = st.sampled_from(
    [
        b"configdirectory: /x\n",
        b"virtdomains: on\n",
        b"virtdomains: maybe\n",
        b"fulldirhash: y\n",
        b"fulldirhash: o\n",
        b"quota_db: twoskip\n",
        b"quota_db: x\n",
        b"quota_db_path: {configdirectory}/q\n",
        b"quota_db_path: x\n",
        b"lmtp_downcase_rcpt: no\n",
        b"lmtp_virtdomains: off\n",
        b"@include: /nonexistent/x\n",
        b"@include:\n",
        b"a\\\n",
        b"\xff: \xff\n",
    ]
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conf") / "imapd.conf"


@given(options=st.dictionaries(_name, _value, max_size=6), data=st.data())
def test_options_come_back_however_they_are_spelt(
    path: Path, options: dict[str, str], data: st.DataObject
) -> None:
    def draw(strategy: st.SearchStrategy[str]) -> str:
        return data.draw(strategy)

    lines = []
    for name, value in options.items():
        cut = data.draw(st.integers(0, len(value)))
        spelt = name.upper() if data.draw(st.booleans()) else name
        broken = value[:cut] + draw(_broken) + value[cut:]
        lines.append(f"{draw(_blank)}{spelt}:{draw(_blank)}{broken}{draw(_blank)}\n")
        lines.append(data.draw(st.sampled_from(["", "\n", "# comment\n", "  #x: y\n"])))
    path.write_bytes("".join(lines).encode())
    assert load(path).options == options


def consulted(conf: ImapdConf) -> None:
    """Ask for everything that depends on the options."""
    asked: tuple[Callable[[], object], ...] = (
        lambda: conf.naming,
        lambda: conf.quota_path,
        lambda: conf.quotalegacy_base,
        lambda: conf.switch("fulldirhash", False),
        lambda: source.from_config(conf),
    )
    for ask in asked:
        try:
            ask()
        except ConfigError as error:
            assert "\n" not in str(error)


@given(content=anything | st.lists(_line | st.binary(max_size=10), max_size=8).map(b"".join))
def test_any_bytes_load_or_raise_the_documented_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        conf = load(path)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        consulted(conf)


@pytest.mark.parametrize("content", NASTY, ids=range(len(NASTY)))
def test_the_pool_of_nasty_bytes_is_tried_whole(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        consulted(load(path))
    except ConfigError as error:
        assert "\n" not in str(error)
