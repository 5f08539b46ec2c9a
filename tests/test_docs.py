"""The README and the docs: blocks run and print what the page says, links lead somewhere, the site builds."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

from tenun.tests import pages
from tenun.tests.pages import ROOT

LINKED = [*pages.pages(), ROOT / "CHANGELOG.md", ROOT / "examples" / "README.md", ROOT / "benchmarks" / "RESULTS.md"]
ALONE = {"custom_objects.md", "extending.md"}  # add rows to tables that tests look at: in processes of their own


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_every_block_says_what_it_is(page: Path) -> None:
    assert {block.language for block in pages.blocks(page)} <= {"python", "sh", "text", "json"}


def runs(page: Path) -> bool:
    return any(block.language == "python" or list(pages.commands(block)) for block in pages.blocks(page))


@pytest.mark.parametrize("page", [p for p in LINKED if runs(p) and p.name not in ALONE], ids=name)
def test_blocks_run_in_order_and_print_what_the_page_says(page: Path) -> None:
    with pages.workshop():
        for block, printed in pages.run(page):
            assert block.says(printed), f"python -m tests.pages {name(page)} writes it anew"


@pytest.mark.parametrize("page", sorted(ALONE))
def test_a_page_that_adds_to_tables(page: str, tmp_path: Path) -> None:
    copy = tmp_path / page
    copy.write_text((ROOT / "docs" / page).read_text())
    subprocess.run([sys.executable, "-m", "tenun.tests.pages", str(copy)], check=True, cwd=tmp_path)
    assert copy.read_text() == (ROOT / "docs" / page).read_text()


# ---- links, as they are in the repository --------------------------------------------------------------------

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def hooks() -> ModuleType:
    """docs/hooks.py, which does not need mkdocs to be imported."""
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(markdown: str) -> set[str]:
    """The anchors of the headings, as mkdocs and GitHub make them."""
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in HEADING.findall(markdown)}


def text_of(file: Path) -> str | None:
    made = {str(ROOT / "docs" / uri): make for uri, make in hooks().GENERATED.items()}
    if str(file) in made:
        return "\n".join(made[str(file)]())
    return file.read_text(encoding="utf-8") if file.suffix == ".md" and file.is_file() else None


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(pages.FENCE, "", page.read_text(encoding="utf-8"))
    for link in LINK.findall(re.sub(r"`[^`]*`", "", text)):
        target, _, anchor = link.partition("#")
        if urlsplit(link).scheme:
            assert urlsplit(link).scheme == "https" and urlsplit(link).netloc, f"{link} in {name(page)}"
            continue
        file = Path(os.path.normpath(page.parent / target)) if target else page
        found = text_of(file)
        assert found is not None or file.exists(), f"{link} in {name(page)}: no such file"
        assert not anchor or anchor in anchors(found or ""), f"{link} in {name(page)}: no such heading"


def test_links_become_links_of_the_site() -> None:
    in_site = hooks().in_site
    assert in_site("README.md", "index.md", "docs/training.md") == "training.md"
    assert in_site("README.md", "index.md", "benchmarks/RESULTS.md") == "results.md"
    assert in_site("docs/tutorials/ship.md", "tutorials/ship.md", "../../benchmarks/RESULTS.md") == "../results.md"
    assert in_site("docs/compare.md", "compare.md", "viewer.md") == "viewer.md"
    assert in_site("README.md", "index.md", "api.py") == "api.py"  # no page: mkdocs says so


# ---- the site ------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The ids of a page, what it links to, and what its browser fetches for it."""

    FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.ids |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if given.get(self.FETCHED.get(tag, "")) and given.get("rel") not in ("canonical", "next", "prev"):
            self.fetched.append(given[self.FETCHED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """The pages of the site, by file."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'tenun[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # about the plans of mkdocs' maintainers
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return {file: Page(file.read_text(encoding="utf-8")) for file in folder.rglob("*.html")}


def broken(file: Path, links: list[str], site: dict[Path, Page]) -> Iterator[str]:
    for link in links:
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = Path(os.path.normpath(file.parent / unquote(parts.path))) if parts.path else file
        target = target / "index.html" if target.is_dir() else target
        known = site[target].ids if target in site else {"__skip", ""}
        if not target.exists() or (parts.fragment and unquote(parts.fragment) not in known):
            yield link


@pytest.mark.slow
def test_the_site_builds_and_its_links_lead_somewhere(site: dict[Path, Page]) -> None:
    assert len(site) > 30
    found = {str(file): list(broken(file, page.links + page.fetched, site)) for file, page in site.items()}
    # the page for addresses that do not exist is served at any depth, so its links begin at the root
    assert {file: links for file, links in found.items() if links and not file.endswith("404.html")} == {}


@pytest.mark.slow
def test_the_site_fetches_nothing_from_elsewhere(site: dict[Path, Page]) -> None:
    assert {url for page in site.values() for url in page.fetched if urlsplit(url).netloc} == set()
