"""Few quota roots by name: the same as of all of them, and no other file opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cyrusquota.cyrus import imapdconf
from cyrusquota.cyrus.names import inbox_owner
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.explain.names import LONGER
from cyrusquota.explain.rows import inboxes_in, names_in, roots_named
from cyrusquota.site import source
from cyrusquota.site.site import Site
from cyrusquota.site.source import Source
from tests.recorded_fixtures import FIXTURES, unpacked

MAIN = FIXTURES / "main"
FILES = ["flat/quotas.db", "skiplist/quotas.db", "twoskip/quotas.db", "twom/quotas.db"]
FILES += ["sqlite/quotas.db"]
TREES = ["quotalegacy-plain", "quotalegacy-fulldirhash", "quotalegacy-virtdomains"]


def _tree(name: str, into: Path) -> Source:
    """A recorded tree, by its own imapd.conf."""
    base = unpacked(name.partition("-")[2], into)
    text = (MAIN / name / "imapd.conf").read_text()
    options = [line for line in text.splitlines() if not line.startswith("configdirectory")]
    conf = into / "imapd.conf"
    conf.write_text("\n".join([f"configdirectory: {base}", *options]) + "\n")
    return source.from_config(imapdconf.load(conf))


def _assert_each_is_found(whole: Source) -> None:
    problems: list[CyrusQuotaError] = []
    everything = {root.name: root for root in whole.roots(problems.append)}
    assert len(everything) > 40
    for name, root in everything.items():
        assert roots_named(whole, {name, "user.nobody"}, problems.append) == {name: root}
    assert roots_named(whole, set(everything), problems.append) == everything
    assert roots_named(whole, {"user.nobody"}, problems.append) == {}


@pytest.mark.parametrize("file", FILES)
def test_each_root_of_a_database_is_found_by_name(file: str) -> None:
    _assert_each_is_found(source.from_database(MAIN / file))


@pytest.mark.parametrize("tree", TREES)
def test_each_root_of_a_tree_is_found_by_name(tree: str, tmp_path: Path) -> None:
    _assert_each_is_found(_tree(tree, tmp_path))


def test_the_rest_of_a_tree_is_not_looked_at(tmp_path: Path) -> None:
    whole = _tree("quotalegacy-plain", tmp_path)
    kept = next(root for root in whole.roots() if root.name == "user.jane")
    for path in tmp_path.rglob("user.*"):
        if path.is_file() and path.name != "user.jane":
            os.truncate(path, 1)
    assert roots_named(whole, {"user.jane"}, _fail) == {"user.jane": kept}


def _fail(problem: CyrusQuotaError) -> None:
    raise AssertionError(problem)


@pytest.mark.parametrize("file", FILES)
def test_names_of_about_the_size_are_handed_out(file: str) -> None:
    whole = source.from_database(MAIN / file)
    everything = {root.name for root in whole.roots(_ignore)}
    for size in (1, 4, 8):
        names = set(names_in(whole, size, _ignore))
        assert names <= everything
        for name in everything:
            owner = inbox_owner(name)
            if owner and name.isascii() and abs(len(owner[1]) - size) <= LONGER:
                assert name in names


def test_inboxes_of_about_the_size_are_handed_out() -> None:
    host = Site.from_mailboxes(FIXTURES / "mailboxes" / "mailboxes-3.6.1" / "mailboxes.db")
    names = set(inboxes_in(host, 4, _fail))
    assert {"user.jane", "user.bob"} <= names
    assert names <= {inbox.name for inbox in host.inboxes()}
    dump = FIXTURES / "mailboxes" / "mailboxes-3.6.1" / "ctl_mboxlist-d-y.json"
    assert names <= set(inboxes_in(Site.from_mailboxes(dump), 4, _fail))


def _ignore(problem: CyrusQuotaError) -> None:
    pass
