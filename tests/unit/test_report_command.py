"""cyrusquota report: what it says in a terminal, and the page that it writes."""

from __future__ import annotations

import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Callable

import pytest

from cyrusquota.cli import main
from tests.unit.terminals import on_terminal

#: Three users in two domains, one of them full in two resources, a folder, and a whole domain.
DUMP = b"""\
user.jane\t%(S (2097152 1024) M (11 10))
user.bob\t%(S (3145728))
example.org!user.max\t%(S (996147 1024))
example.org!user.max.archive\t%(S (0 2048))
example.org!\t%(S (9 0))
"""
MAILBOXES = b"""\
user.jane\t0 default jane\tlrs\t
user.bob\t0 default bob\tlrs\t
example.org!user.max\t0 default max\tlrs\t
example.org!user.mia\t0 default mia\tlrs\t
"""

Run = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def run(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run `cyrusquota report` on a dump, in its directory."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("mailboxes").write_bytes(MAILBOXES)

    def call(*arguments: str, dump: bytes = DUMP) -> tuple[int, str, str]:
        Path("dump").write_bytes(dump)
        argv = ["cyrusquota", "report", "--dump", "dump", *arguments]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = capfdbinary.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out.decode(), err.decode()

    return call


def test_the_figures_of_a_report(run: Run) -> None:
    """Worked out by hand; of the mailbox of mia only the list is known, not its header."""
    status, out, err = run("--mailboxes", "mailboxes")
    lines = out.splitlines()
    assert status == 0
    assert "'example.org!user.mia' is listed because quota root 'example.org!' is full" in err
    assert re.search(r"policy lmtpd, \d{4}-\d\d-\d\d \d\d:\d\d [+-]\d{4}$", lines[0])
    figures = [re.split(r"  +", line)[1] for line in lines[2:11]]
    assert figures == ["5", "3", "1", "1", "2", "2", "4.0 MiB", "6.0 MiB", "1"]
    bars = [line.split() for line in lines[13:24]]
    assert [bar[-1] for bar in bars] == [BLOCK * 33, *"00000000", BLOCK * 33, BLOCK * 66]
    assert [line for line in lines[24:] if line.startswith(" ")] == ROWS


BLOCK = "\u2588"
#: By resource, by domain, the fullest, and who is refused.
ROWS = [
    *("    4     1     2  STORAGE", "    1     0     1  MESSAGE"),
    "    2         1     1  1.0 MiB    5.0 MiB  200.0%  (no domain)",
    "    3         0     1  3.0 MiB  972.8 KiB   31.7%  example.org",
    "  USE       USED    LIMIT  RESOURCE  USER OR ROOT",
    " 200%    2.0 MiB  1.0 MiB  STORAGE   user.jane",
    "  94%  972.8 KiB  1.0 MiB  STORAGE   max@example.org",
    "   0%        0 B  2.0 MiB  STORAGE   example.org!user.max.archive",
    "  USE     USED    LIMIT  RESOURCE  ROOT                        USER",
    " 200%  2.0 MiB  1.0 MiB  STORAGE   own                         jane",
    " 110%       11       10  MESSAGE   own                         jane",
]


def test_without_mailboxes_it_says_who_is_not_known(run: Run) -> None:
    _, out, err = run()
    assert "Users refused mail now                1  only users with a root of their own" in out
    assert "quota root 'example.org!' is full" in err


def test_top_rows_and_near_may_be_chosen(run: Run) -> None:
    _, out, _ = run("-q", "--top", "1", "--rows", "1", "--near", "96%")
    assert "Near a limit                          0\n" in out
    assert "The fullest\n  USE  USED  LIMIT  RESOURCE  USER OR ROOT\n>999%" in out
    assert out.count("example.org!user.max") == 0
    assert "and 1 more domains: see --rows" in out
    assert out.endswith("own   jane\nand 1 more reasons to refuse mail: see --rows\n")


def test_users_within_the_reserve_are_counted_apart(run: Run) -> None:
    assert "Users within the reserve" not in run("-q")[1]
    out = run("-q", "--reserve", "10%")[1]
    assert "Users refused mail now                1 " in out
    assert "Users within the reserve              1  less left than --reserve" in out


def test_an_empty_site_is_no_problem(run: Run) -> None:
    status, out, err = run(dump=b"")
    assert (status, err) == (0, "")
    assert out.splitlines()[2] == "Quota roots                       0"
    assert out.splitlines()[-1] == "Used                            0 B"


def test_nobody_refused_is_said(run: Run) -> None:
    assert run(dump=b"user.jane\t1 1\n")[1].endswith("\nNobody is refused mail now\n")


def test_the_policy_decides_who_is_refused(run: Run) -> None:
    dump = b"user.jane\t%(S (0 1) M (5 5))\n"
    assert "Nobody is refused mail now" in run(dump=dump)[1]
    assert run("--policy", "smmapd", dump=dump)[1].endswith(
        "100%     5      5  MESSAGE   own   jane\n"
    )


def test_it_fits_a_narrow_terminal_in_colour(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(DUMP)
    status, shown = on_terminal("report", "-q", "--dump", str(path), columns=40)
    assert status == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert plain != shown
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 40


# The page


def page(path: str = "page.html") -> ElementTree.Element:
    """The page as XML, which forgives nothing."""
    return ElementTree.fromstring(Path(path).read_bytes())


def tag(name: str) -> str:
    return f"{{http://www.w3.org/1999/xhtml}}{name}"


def rows(root: ElementTree.Element, caption: str) -> list[list[str]]:
    """The cells of the table so called."""
    for table in root.iter(tag("table")):
        if "".join(table.find(tag("caption")).itertext()).startswith(caption):  # type: ignore[union-attr]
            body = table.find(tag("tbody"))
            assert body is not None
            return [["".join(cell.itertext()) for cell in row] for row in body]
    raise AssertionError(caption)


def test_the_page_says_the_same(run: Run) -> None:
    assert run("-q", "--mailboxes", "mailboxes", "--html", "page.html") == (0, "", "")
    root = page()
    facts = {
        "".join(part[0].itertext()): "".join(part[1].itertext())
        for part in root.iter(tag("div"))
        if part[0].tag == tag("dt")
    }
    assert facts == {
        "Quota roots": "5",
        "Users with a root of their own": "3",
        "Without any limit": "1",
        "Near a limit": "1",
        "Over a limit": "2",
        "Users refused mail now": "2",
        "Total limits": "4.0 MiB",
        "Used": "6.0 MiB",
        "Problems": "1",
    }
    assert rows(root, "Users and the resources") == [
        ["jane", "200%", "2.0 MiB", "1.0 MiB", "STORAGE", "own root"],
        ["jane", "110%", "11", "10", "MESSAGE", "own root"],
        ["mia@example.org", ">999%", "9 B", "0 B", "STORAGE", "example.org! (not certain)"],
    ]
    assert rows(root, "Quota roots and the resource")[1][:5] == [
        "user.jane",
        "200%",
        "2.0 MiB",
        "1.0 MiB",
        "STORAGE",
    ]
    assert rows(root, "Domains") == [
        ["(no domain)", "2", "1", "1", "1.0 MiB", "5.0 MiB", "200.0%"],
        ["example.org", "3", "0", "1", "3.0 MiB", "972.8 KiB", "31.7%"],
    ]
    assert rows(root, "Roots by use")[-1] == ["over 100%", "2", "50.0%"]
    assert rows(root, "Quota roots by resource") == [
        ["STORAGE", "4", "1", "2"],
        ["MESSAGE", "1", "0", "1"],
    ]


def test_columns_of_a_chart_are_as_high_as_what_they_count(run: Run) -> None:
    run("-q", "--html", "page.html")
    chart = next(each for each in page().iter(tag("svg")) if each.get("role") == "img")
    heights = [float(rect.attrib["height"]) for rect in chart.iter(tag("rect"))]
    assert heights == [130.0, *[0.0] * 8, 130.0, 260.0]


def test_charts_are_described_to_those_who_cannot_see_them(run: Run) -> None:
    run("-q", "--html", "page.html")
    root = page()
    known = {each.get("id") for each in root.iter()}
    charts = [each for each in root.iter(tag("svg")) if each.get("aria-hidden") != "true"]
    assert len(charts) == 2
    for chart in charts:
        assert chart.get("role") == "img"
        assert [part.tag for part in chart[:2]] == [tag("title"), tag("desc")]
        assert set(chart.attrib["aria-labelledby"].split()) <= known


def test_the_page_fetches_and_runs_nothing(run: Run) -> None:
    run("-q", "--html", "page.html")
    for each in page().iter():
        assert each.tag not in map(tag, ("script", "link", "img", "iframe", "a", "form", "use"))
        assert not [key for key in each.attrib if key.startswith("on") or key in ("src", "href")]
    text = Path("page.html").read_text()
    assert "default-src &#x27;none&#x27;" in text
    assert "url(" not in text and "@import" not in text
    assert re.findall(r"https?:", text) == ["http:"]


def test_names_are_escaped(run: Run) -> None:
    name = "example.org!user.<script>&\"'\u202e\x1b"
    dump = f"{name}\t9999 1\nex<b>.net!user.x\t1 1\n".encode()
    run("--html", "page.html", dump=dump)
    root = page()
    assert [row[0] for row in rows(root, "Quota roots and")] == [
        "example.org!user.<script>&\"'\\u202e\\x1b",
        "x@ex<b>.net",
    ]
    assert sorted(row[0] for row in rows(root, "Domains")) == ["ex<b>.net", "example.org"]
    assert "<script" not in Path("page.html").read_text()


def test_an_empty_site_has_a_page(run: Run) -> None:
    assert run("--html", "page.html", dump=b"") == (0, "", "")
    assert "The source has no quota roots." in "".join(page().itertext())


def test_a_page_is_for_few_unless_asked_otherwise(run: Run) -> None:
    run("-q", "--html", "page.html")
    assert os.stat("page.html").st_mode & 0o7777 == 0o640
    run("-q", "--html", "page.html", "--mode", "0644")
    assert os.stat("page.html").st_mode & 0o7777 == 0o644
    assert sorted(os.listdir()) == ["dump", "mailboxes", "page.html"]


def test_a_page_may_go_to_standard_output(run: Run) -> None:
    status, out, _ = run("-q", "--html", "-")
    assert status == 0
    assert ElementTree.fromstring(out).tag == tag("html")


def test_what_is_not_ours_is_not_overwritten(run: Run) -> None:
    Path("page.html").write_text("<!DOCTYPE html>\n<p>mine</p>\n")
    status, _, err = run("-q", "--html", "page.html")
    assert status == 73
    assert "was not written by this program" in err
    assert Path("page.html").read_text() == "<!DOCTYPE html>\n<p>mine</p>\n"


def test_a_missing_directory_is_said_before_anything_is_read(run: Run) -> None:
    status, out, err = run("--html", "gone/page.html", dump=b"garbage\n")
    assert (status, out) == (73, "")
    assert err == (
        "cyrusquota: --html gone/page.html: the directory gone does not exist; make it first, or"
        " name a file in another\n"
    )


def test_a_damaged_source_leaves_the_page_alone(run: Run) -> None:
    run("-q", "--html", "page.html")
    before = Path("page.html").read_bytes()
    assert run("--html", "page.html", dump=b"user.jane\t1 1")[0] == 65
    assert Path("page.html").read_bytes() == before


@pytest.mark.parametrize(
    "arguments", [["--near", "0"], ["--top", "-1"], ["--rows", "x"], ["--mode", "rw"], ["x"]]
)
def test_bad_options_are_64(arguments: list[str], run: Run) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (64, "")
    assert err
