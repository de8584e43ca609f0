"""Commands in texts are commands of the program: in pages, help and errors. tests/e2e/test_pasted.py runs them."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest

from tests.support.pasted import CHECKOUT, PAGES, Found, commands_of, examples, named_in_sources, parse, resolve

DOCS = CHECKOUT / "fednode" / "docs"
IN_PAGES = [found for page in PAGES for found in commands_of(page)]
IN_HELP = list(examples())
LINK = re.compile(r"\]\(([^)\s]+)\)")


def named(found: Found) -> str:
    return f"{found.where}: {found.line}"


def is_whole(found: Found) -> bool:
    """Whether a line gives a command with what it needs, and not just its name, as running text does."""
    words = found.words
    return len(resolve(words)) < len(words)


def test_the_search_finds_what_stands_there() -> None:
    lines = {found.line for found in IN_PAGES}
    assert "fednode --home 'practice/$h' start --background" in lines  # of a loop
    assert any(line.startswith("fednode genesis create --name practice") and "dora" in line for line in lines)
    assert "fednode study start heart --without 'St. Dora'" in lines
    assert len(IN_PAGES) > 100 and len(IN_HELP) > 100 and len(list(named_in_sources())) > 30


@pytest.mark.parametrize("found", [f for f in IN_PAGES + IN_HELP if is_whole(f)], ids=named)
def test_it_is_read_to_its_last_option(found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (".fednode", *(word for word in found.words if word.endswith(".fnx"))):
        (tmp_path / name).touch()
    try:
        parse(found.words)
    except click.exceptions.MissingParameter:
        pytest.fail(f"{found.line}: something is missing")
    except click.UsageError as error:
        pytest.fail(f"{found.line}: {error.format_message()}")


@pytest.mark.parametrize("found", [f for f in IN_PAGES if not is_whole(f)], ids=named)
def test_a_name_in_the_text_is_that_of_a_command(found: Found) -> None:
    assert resolve(found.words) == found.words


@pytest.mark.parametrize("found", sorted(set(named_in_sources()), key=named), ids=named)
def test_advice_names_commands_that_there_are(found: Found) -> None:
    path = resolve(found.words)
    assert path == found.words or not isinstance(resolve_group(path), click.Group)


def resolve_group(path: list[str]) -> click.Command:
    from fednode.cli.main import cli

    command: click.Command = cli
    for word in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    return command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, link


def test_the_index_lists_every_page() -> None:
    listed = {link.partition("#")[0] for link in LINK.findall((DOCS / "README.md").read_text())}
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= listed


def test_pictures_are_whole_shown_and_described() -> None:
    texts = "".join(page.read_text() for page in PAGES)
    pictures = sorted((DOCS / "pictures").glob("*.svg"))
    assert pictures
    for picture in pictures:
        root = ElementTree.parse(picture).getroot()
        assert root.tag.endswith("svg") and root.get("aria-label")
        assert f"pictures/{picture.name})" in texts, f"no page shows {picture.name}"
