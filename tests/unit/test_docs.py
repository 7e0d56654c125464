"""What the documents say is so: links lead somewhere, options exist, examples run."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path
from typing import Iterator

import click
import pytest

import cyrusquota
from tests.error_cases.origins import PACKAGE
from tools.docs import CHECKOUT, commands
from tools.docs.commands import PROGRAMS

#: Documents of the project; what a virtual environment or a build has does not count.
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "exim/**/*.md", "postfix/*.md", "tests/fixtures/*.md")
    for path in CHECKOUT.glob(pattern)
)
#: Those that only list things.
_LISTS = ("CHANGELOG.md", "errors.md")
_LINK = re.compile(r"\]\((?!https?:|mailto:)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]*))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FENCED = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
#: A command of ours where a shell takes one to begin, up to where it takes it to end.
_COMMAND = re.compile(
    r"(?:^|(?<=[|&:;] )|(?<=\*  )|(?<=sbin/))"
    r"(?P<line>cyrusquota(?:-export|-mirror)?(?: [^\n|;&>]*)?)(?=$|[|;&>\n])"
)
#: What a shell, or a reader, drops.
_REST = re.compile(r"\s+(?:#|\.\.\.).*$")


def test_there_are_documents() -> None:
    names = {path.relative_to(CHECKOUT).as_posix() for path in DOCUMENTS}
    assert {"README.md", "SECURITY.md", "CHANGELOG.md", "docs/errors.md"} <= names


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for match in _LINK.finditer(path.read_text("utf-8")):
        target = (path.parent / match["path"]).resolve() if match["path"] else path
        assert target.exists(), match[0]
        if match["anchor"]:
            assert match["anchor"] in _anchors(target), match[0]


def _anchors(path: Path) -> set[str]:
    """As code hosts make them of headings."""
    titles = _HEADING.findall(path.read_text("utf-8"))
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_path_in_a_document_for_developers_exists(name: str) -> None:
    """Relative to the checkout or to the package; a module may be named without its `.py`."""
    spans = re.findall(r"`([^`\n]+)`", _FENCED.sub("", (CHECKOUT / name).read_text("utf-8")))
    paths = [span for span in spans if re.fullmatch(r"\.?[a-z][a-z_0-9.]*/[a-z_0-9./-]*", span)]
    assert len(paths) > 5
    candidates = {
        path: [base / f"{path}{suffix}" for base in (CHECKOUT, PACKAGE) for suffix in ("", ".py")]
        for path in paths
    }
    assert [path for path, found in candidates.items() if not any(map(Path.exists, found))] == []


def test_every_option_is_explained_in_a_document() -> None:
    """The manual says what an option does; the documents, under any of its names, what for."""
    texts = (path.read_text("utf-8") for path in DOCUMENTS if path.name not in _LISTS)
    written = set(re.findall(r"(?<![\w-])-{1,2}[A-Za-z][a-z-]*", "".join(texts)))
    unexplained = {
        f"{command.name} {option.spelling}"
        for command in commands.every()
        for option in command.options
        if not (written | {"--help", "--version"}) & set(option.names)
    }
    assert unexplained == set()


def _code(text: str) -> Iterator[str]:
    """Lines of blocks of code, fenced or indented, and code within lines."""
    rest = text
    for match in _FENCED.finditer(text):
        if match["language"] in ("", "text", "sh"):
            yield from match["text"].splitlines()
        rest = rest.replace(match[0], "")
    for line in rest.splitlines():
        if line.startswith("    "):
            yield line.strip()
        else:
            yield from (span for span in re.findall(r"`([^`]+)`", line))


def _command_lines() -> Iterator[tuple[str, str]]:
    for path in DOCUMENTS:
        for code in _code(path.read_text("utf-8")):
            for match in _COMMAND.finditer(code):
                line = _REST.sub("", match["line"]).strip()
                if " " in line and not line.endswith(":") and not code.startswith("# "):
                    yield path.name, line


def _parse(line: str) -> None:
    """Raise what click does of a command line, without running it."""
    program, *words = shlex.split(line)
    command, context = PROGRAMS[program], None
    if isinstance(command, click.Group) and words:
        context = click.Context(command, info_name=program)
        name, *words = words
        inner = command.get_command(context, name)
        if inner is None:
            raise click.UsageError(f"no such command: {name}")
        if not words:
            # Alone it is a name in a sentence.
            return
        command = inner
    shipped = str(CHECKOUT / "cyrusquota.conf")
    words = [shipped if word == "/etc/cyrusquota.conf" else word for word in words]
    command.make_context(command.name, words, parent=context)


LINES = sorted(set(_command_lines()))


def test_command_lines_are_found_in_the_documents() -> None:
    found = [line for _, line in LINES]
    assert "cyrusquota-export --dry-run" in found
    assert "cyrusquota-export --follow -o /var/lib/cyrusquota/overquota" in found
    assert len(found) > 15


@pytest.mark.parametrize(("document", "line"), LINES)
def test_every_command_line_in_the_documents_is_understood(document: str, line: str) -> None:
    _parse(line)


@pytest.mark.parametrize(
    "line", ["cyrusquota-export --nonsense", "cyrusquota no-such", "cyrusquota list --follow"]
)
def test_a_wrong_command_line_would_be_noticed(line: str) -> None:
    with pytest.raises(click.UsageError):
        _parse(line)


def test_every_metric_in_the_documents_is_one() -> None:
    text = "".join(path.read_text("utf-8") for path in DOCUMENTS)
    named = set(re.findall(r"`(cyrusquota_\w+)`", text))
    code = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    assert "cyrusquota_up" in named
    assert {name for name in named if f'"{name}"' not in code} == set()


LIBRARY = CHECKOUT / "docs" / "library.md"


def test_the_examples_of_the_library_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    text = LIBRARY.read_text("utf-8")
    examples = "".join(match["text"] for match in _FENCED.finditer(text))
    test = doctest.DocTestParser().get_doctest(examples, {}, LIBRARY.name, str(LIBRARY), 0)
    assert len(test.examples) > 20
    said: list[str] = []
    done = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert done.failed == 0, "".join(said)


def test_every_public_name_is_in_the_document_of_the_library() -> None:
    text = LIBRARY.read_text("utf-8")
    spans = re.findall(r"`([^`]+)`", _FENCED.sub("", text))
    named = set(re.findall(r"\w+", " ".join(spans)))
    assert set(cyrusquota.__all__) - named == set()


def test_the_readme_is_one_screen_with_the_two_commands() -> None:
    text = (CHECKOUT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 115
    assert re.findall(r"^    make (\w+) ", text, re.MULTILINE) == ["demo", "test"]
