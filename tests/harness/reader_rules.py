"""What a reader does on a built page: drags and steps through figures, unfolds, follows links.

Every function returns what is wrong, one line each. Used by tests/test_reader.py.
"""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

MAX_PAGE_BYTES = 1_000_000  # of a page's own: its text and its pictures, not what all pages share

# What a figure draws at the moment: the frame that is not hidden, or its one drawing.
SHOWN = "e => e.querySelector('.tfm-frame:not([hidden]), svg').innerHTML"


def drive_figures(page: Any) -> list[str]:
    """Move every figure's slider with the keyboard and with the mouse, and play the first one."""
    found = []
    figures = page.locator("figure.tfm-frames")
    for number in range(figures.count()):
        figure = figures.nth(number)
        slider, said = figure.locator("input[type=range]"), figure.locator("output")
        name = f"figure {number + 1} ({slider.get_attribute('aria-label')})"
        slider.scroll_into_view_if_needed()
        slider.focus()
        page.keyboard.press("Home")
        first, drawn = said.inner_text(), figure.evaluate(SHOWN)
        page.keyboard.press("ArrowRight")
        if said.inner_text() == first or slider.get_attribute("aria-valuetext") == first:
            found.append(f"{name}: the arrow key does not move the slider")
        page.keyboard.press("End")
        last = said.inner_text()
        if figure.evaluate(SHOWN) == drawn:
            found.append(f"{name}: its last frame is drawn as its first")
        box = slider.bounding_box()
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] - 8, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, middle, steps=3)
        page.mouse.move(box["x"] + 4, middle, steps=3)
        page.mouse.up()
        if said.inner_text() != first or (first == last):
            found.append(f"{name}: dragging does not move the slider")
    return found


def play_figure(page: Any) -> list[str]:
    """Press the play button of the first figure: it moves, and it stops."""
    figure = page.locator("figure.tfm-frames").first
    button, said = figure.locator("button"), figure.locator("output")
    if not button.is_visible():
        return ["the first figure has no play button"]
    figure.locator("input").focus()
    page.keyboard.press("Home")
    first = said.inner_text()
    button.click()
    page.wait_for_timeout(900)
    if said.inner_text() == first:
        return ["playing does not move the first figure"]
    if button.inner_text() == "Pause":
        button.click()
    stopped = said.inner_text()
    page.wait_for_timeout(900)
    return [] if said.inner_text() == stopped else ["the first figure does not stop"]


def unfold(page: Any) -> list[str]:
    """Solutions, hints and hidden code are folded; mouse or keyboard unfold them."""
    found = []
    solutions = page.locator("div.solution.dropdown")
    for number in range(solutions.count()):
        solution = solutions.nth(number)
        inside = solution.locator("section, .section").first
        button = solution.locator("button.toggle-button")
        if inside.is_visible():
            found.append(f"solution {number + 1} is open from the start")
            continue
        if button.count() == 0:
            found.append(f"solution {number + 1} has no button")
            continue
        if number % 2:
            button.focus()
            page.keyboard.press("Enter")
        else:
            button.click()
        if not inside.is_visible():
            found.append(f"solution {number + 1} does not open")
    folded = page.locator("main details")
    for number in range(folded.count()):
        details = folded.nth(number)
        if details.evaluate("e => e.open"):
            continue
        details.locator("summary").first.focus()
        page.keyboard.press("Enter")
        if not details.evaluate("e => e.open"):
            found.append(f"fold {number + 1} does not open with the keyboard")
    return found


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.pictures: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of what a tag points to, and of the names it can be reached by."""
        given = dict(attrs)
        if tag == "a" and given.get("href"):
            self.targets.append(str(given["href"]))
        if tag == "img" and given.get("src"):
            self.pictures.append(str(given["src"]))
        for name in ("id", "name"):
            if given.get(name):
                self.anchors.add(str(given[name]))


def read_links(path: Path) -> _Links:
    """Return the links, pictures and anchors of a built page."""
    links = _Links()
    links.feed(path.read_text(encoding="utf-8"))
    return links


def broken_links(root: Path) -> Iterator[str]:
    """Yield the links inside the book whose page or place does not exist."""
    pages = {
        path.relative_to(root).as_posix(): read_links(path)
        for path in root.rglob("*.html")
        if "_static" not in path.parts
    }
    for name, links in pages.items():
        for target in sorted(set(links.targets)):
            address, place = urldefrag(target)
            if urlsplit(target).scheme or address.startswith("//"):
                continue
            path = (root / name).parent / unquote(address) if address else root / name
            path = path.resolve()
            if not path.exists():
                yield f"{name} links {target}, which does not exist"
                continue
            other = path.relative_to(root.resolve()).as_posix()
            if place and other in pages and unquote(place) not in pages[other].anchors:
                yield f"{name} links {target}, and there is no such place"


def weight(root: Path, name: str) -> int:
    """Return the bytes of a page and of its own pictures."""
    path = root / name
    pictures = {p for p in read_links(path).pictures if not p.startswith("data:")}
    shared = root / "_static"
    own = [(path.parent / unquote(p)).resolve() for p in pictures]
    own = [p for p in own if p.exists() and shared.resolve() not in p.parents]
    return path.stat().st_size + sum(p.stat().st_size for p in own)
