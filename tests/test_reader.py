"""The built book as a reader uses it: figures move, folds open, links lead somewhere."""

import build_book
import page_rules
import pytest
import reader_rules
import yaml

TOC = yaml.safe_load((build_book.ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [
    chapter["file"]
    for part in TOC["parts"]
    for chapter in part["chapters"]
    if chapter["file"].count("/") == 2  # book/PART/CONCEPT
]
PAGES = [TOC["root"], *(c["file"] for part in TOC["parts"] for c in part["chapters"])]


@pytest.fixture(scope="module")
def browser():
    path = page_rules.find_browser()
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(page_rules.NAMES)} is installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, headless=True, args=page_rules.ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def book():
    assert build_book.main(["--if-needed"]) == 0, "the book does not build: make book"
    return build_book.HTML


@pytest.fixture
def reader(browser, book):
    """Return a function that opens a page of the book on a narrow screen."""
    context = browser.new_context(viewport={"width": 1000, "height": 800})
    with page_rules.served(book) as address:

        def open_page(name):
            page = context.new_page()
            page.goto(f"{address}/{name}", wait_until="load", timeout=60_000)
            return page

        yield open_page
    context.close()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_figures_move_and_folds_open(reader, chapter):
    page = reader(f"{chapter}.html")
    found = reader_rules.unfold(page) + reader_rules.drive_figures(page)
    assert not found, "\n".join(found)


def test_a_figure_plays(reader):
    found = reader_rules.play_figure(reader("book/blocks/attention.html"))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_chapter_has_something_to_play_with_and_exercises(book, chapter):
    text = (book / f"{chapter}.html").read_text(encoding="utf-8")
    assert '<figure class="tfm-frames' in text
    assert text.count('class="exercise admonition') >= 3
    assert text.count('class="solution dropdown') == text.count('class="exercise admonition')


def test_links_inside_the_book_lead_somewhere(book):
    found = list(reader_rules.broken_links(book))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_light(book, name):
    assert reader_rules.weight(book, f"{name}.html") <= reader_rules.MAX_PAGE_BYTES


FIGURE = """<figure class="tfm-frames"><svg><text id="t">{drawn}</text></svg>
<input type="range" min="0" max="3" value="0" aria-label="n" aria-valuetext="0"
 style="width: 200px"><output>0</output><button>Play</button></figure>
<script>const input = document.querySelector("input");
input.addEventListener("input", () => {{ {on_input} }});</script>"""
MOVES = """document.querySelector("output").textContent = input.value;
input.setAttribute("aria-valuetext", input.value);"""
DRAWS = 'document.getElementById("t").textContent = "frame " + input.value;'
FRAMES = """<figure class="tfm-frames"><div class="tfm-frame" data-position="0">{first}</div>
<div class="tfm-frame" data-position="3" hidden>{last}</div>
<input type="range" min="0" max="3" value="0" aria-label="n" aria-valuetext="0"
 style="width: 200px"><output>0</output></figure>
<script>const input = document.querySelector("input");
const frames = document.querySelectorAll(".tfm-frame");
input.addEventListener("input", () => {{
  frames.forEach((f, i) => {{ f.hidden = i !== (input.value > 1 ? 1 : 0); }}); {on_input}
}});</script>"""
SOLUTION = """<div class="solution dropdown"><button class="toggle-button">x</button>
<section {hidden}>s</section></div><script>document.querySelector("button").onclick =
() => {{ {on_click} }};</script>"""


@pytest.mark.parametrize(
    ("rule", "html", "expected"),
    [
        ("drive_figures", FIGURE.format(drawn="0", on_input=MOVES + DRAWS), None),
        ("drive_figures", FIGURE.format(drawn="0", on_input=DRAWS), "arrow key"),
        ("drive_figures", FIGURE.format(drawn="0", on_input=MOVES), "drawn as its first"),
        ("drive_figures", FRAMES.format(first="<svg>a</svg>", last="b", on_input=MOVES), None),
        ("drive_figures", FRAMES.format(first="a", last="a", on_input=MOVES), "as its first"),
        ("play_figure", FIGURE.format(drawn="0", on_input=MOVES), "does not move"),
        ("unfold", SOLUTION.format(hidden="", on_click=""), "open from the start"),
        ("unfold", SOLUTION.format(hidden="hidden", on_click=""), "does not open"),
        (
            "unfold",
            SOLUTION.format(
                hidden="hidden", on_click="document.querySelector('section').hidden = false"
            ),
            None,
        ),
    ],
)
def test_planted_faults_are_seen(browser, tmp_path, rule, html, expected):
    (tmp_path / "page.html").write_text(f"<html><body>{html}</body></html>", encoding="utf-8")
    with page_rules.served(tmp_path) as address:
        page = browser.new_page()
        page.goto(f"{address}/page.html")
        found = getattr(reader_rules, rule)(page)
        page.close()
    assert any(expected in line for line in found) if expected else not found


def test_planted_broken_links_are_seen(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here">1</a><a href="b.html#there">2</a><a href="c.html">3</a>'
        '<a href="https://example.org">4</a></p>',
        encoding="utf-8",
    )
    (tmp_path / "b.html").write_text("<p>no anchor</p>", encoding="utf-8")
    assert list(reader_rules.broken_links(tmp_path)) == [
        "a.html links b.html#there, and there is no such place",
        "a.html links c.html, which does not exist",
    ]


def test_the_weight_of_a_page_counts_its_pictures_once(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static/shared.png").write_bytes(b"x" * 500)
    (tmp_path / "own.png").write_bytes(b"x" * 100)
    html = '<img src="own.png"><img src="own.png"><img src="_static/shared.png">'
    (tmp_path / "a.html").write_text(html, encoding="utf-8")
    assert reader_rules.weight(tmp_path, "a.html") == len(html) + 100
