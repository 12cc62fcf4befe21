"""Every built page, in a real browser: light and dark, on a wide screen and on a phone's."""

import build_book
import page_rules
import pytest
import yaml
from page_rules import PHONE, WIDE

TOC = yaml.safe_load((build_book.ROOT / "_toc.yml").read_text(encoding="utf-8"))


def pages():
    """Return the addresses of all pages: those of the table of contents, and the generated ones."""
    chapters = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
    return [f"{name}.html" for name in (TOC["root"], *chapters, "search", "genindex")]


@pytest.fixture(scope="module")
def browser():
    path = page_rules.find_browser()
    if path is None:
        pytest.skip(
            f"no browser: none of {', '.join(page_rules.NAMES)} is installed (CHROMIUM=...)"
        )
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, headless=True, args=page_rules.ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def book(browser):
    assert build_book.main(["--if-needed"]) == 0, "the book does not build: make book"
    with page_rules.served(build_book.HTML) as address:
        yield address


@pytest.mark.parametrize("page", pages())
@pytest.mark.parametrize(
    ("theme", "width"), [("light", WIDE), ("dark", WIDE), ("light", PHONE), ("dark", PHONE)]
)
def test_page_is_whole(browser, book, page, theme, width):
    # Colours do not depend on the width: the slow check has seen the dark ones on the wide screen.
    known = theme == "dark" and width == PHONE
    found = page_rules.inspect_page(
        browser, f"{book}/{page}", theme, width, accessibility=not known
    )
    assert not found, "\n".join(found)


def test_every_built_page_is_looked_at(book):
    built = {
        path.relative_to(build_book.HTML).as_posix()
        for path in build_book.HTML.rglob("*.html")
        if "_static" not in path.parts
    }
    assert built - {"index.html"} == set(pages())


GOOD = """<html lang="en"><head><title>t</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><main><h1>T</h1>{}</main></body></html>"""
PLANTED = {
    "external request": '<img alt="x" src="https://example.org/x.png">',
    "HTTP 404": '<img alt="x" src="missing.png">',
    "page error": "<script>const a = 1;</script><script>const a = 2;</script>",
    "console error": "<script>console.error('no')</script>",
    "formula left as text": "<p>so $x^2$ is</p>",
    "formula not set": '<p><span class="math notranslate">x^2</span></p>',
    "error in a formula": "<p><mjx-merror>Undefined control sequence</mjx-merror></p>",
    "the page is": '<div style="width: 700px">wide</div>',
    "ends at": '<div style="overflow: hidden"><p style="width: 700px">cut off</p></div>',
    "slider changes nothing": '<div><p><input type="range" aria-label="s" max="3"></p></div>',
    "accessibility": '<p style="color: #ccc; background: #fff">pale</p>',
}


@pytest.mark.parametrize("expected", PLANTED)
def test_planted_fault_is_seen(browser, tmp_path, expected):
    (tmp_path / "page.html").write_text(GOOD.format(PLANTED[expected]), encoding="utf-8")
    with page_rules.served(tmp_path) as address:
        found = page_rules.inspect_page(browser, f"{address}/page.html", "light", PHONE)
    assert any(line.startswith(expected) or expected in line for line in found), found


def test_sound_page_passes(browser, tmp_path):
    inside = (
        '<div tabindex="0" style="overflow-x: auto"><p style="width: 700px">scrolls</p></div>'
        "<pre>cost: $x$</pre><p>It costs $5.</p>"
        '<div><label>s <input type="range" max="3" '
        "oninput=\"document.getElementById('o').textContent = this.value\"></label>"
        '<output id="o">0</output></div>'
    )
    (tmp_path / "page.html").write_text(GOOD.format(inside), encoding="utf-8")
    with page_rules.served(tmp_path) as address:
        assert page_rules.inspect_page(browser, f"{address}/page.html", "dark", PHONE) == []
