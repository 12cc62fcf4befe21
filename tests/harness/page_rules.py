"""What a built page must be, looked at in a real browser: used by tests/test_pages.py."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

WIDE, PHONE = 1280, 375
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Formulas that the reader would see as their source: in the text, outside code and figures.
UNRENDERED = r"""() => {
  const found = [];
  const inCode = "pre, code, script, style, svg, mjx-container, textarea, .highlight, .output";
  const walker = document.createTreeWalker(document.querySelector("main") || document.body,
                                           NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.parentElement.closest(inCode)) continue;
    if (/\$[^\s$][^$]*\$|\\\(|\\\[|\\begin\{/.test(node.textContent))
      found.push("formula left as text: " + node.textContent.trim().slice(0, 60));
  }
  for (const box of document.querySelectorAll("span.math, div.math"))
    if (!box.querySelector("mjx-container"))
      found.push("formula not set: " + box.textContent.trim().slice(0, 60));
  for (const error of document.querySelectorAll("mjx-merror, [data-mjx-error]"))
    found.push("error in a formula: " + (error.dataset.mjxError || error.textContent).slice(0, 80));
  return found;
}"""

# What sticks out to the right, unless it can be scrolled inside itself or is kept out of sight.
SIDEWAYS = r"""() => {
  const width = document.documentElement.clientWidth, found = [];
  const page = Math.max(document.documentElement.scrollWidth, document.body.scrollWidth);
  if (page > width) found.push(`the page is ${page} px wide on a screen of ${width}`);
  const inside = element => {
    for (let up = element.parentElement; up && up !== document.body; up = up.parentElement)
      if (/auto|scroll/.test(getComputedStyle(up).overflowX)
          && up.getBoundingClientRect().right <= width + 1) return true;
    return false;
  };
  const skipped = "mjx-assistive-mml, .visually-hidden, .sr-only, dialog:not([open]), svg *";
  for (const element of document.querySelectorAll("main *")) {
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    if (!box.width || style.visibility === "hidden" || element.closest(skipped)) continue;
    if (box.right > width + 1 && !inside(element)) {
      found.push(`<${element.tagName.toLowerCase()} class="${element.getAttribute("class") || ""}">`
                 + ` ends at ${Math.round(box.right)} px`);
      if (found.length > 5) break;
    }
  }
  return found;
}"""

# A slider that changes nothing is a figure that stays blank.
SLIDERS = r"""() => {
  const found = [];
  const drawn = box => box.innerHTML + [...box.querySelectorAll("canvas")].map(c => c.toDataURL());
  for (const slider of document.querySelectorAll("main input[type=range]")) {
    const box = slider.closest(".cell_output") || slider.parentElement.parentElement;
    const before = drawn(box);
    slider.value = slider.value === slider.max ? slider.min : slider.max;
    slider.dispatchEvent(new Event("input", {bubbles: true}));
    slider.dispatchEvent(new Event("change", {bubbles: true}));
    if (drawn(box) === before)
      found.push("slider changes nothing: " + (slider.getAttribute("aria-label") || slider.id));
  }
  return found;
}"""

# Half a minute becomes a second: a formula is one word, and of the code's many tokens, one of each
# kind in each kind of box stays to be looked at.
THINNED = r"""() => {
  for (const formula of document.querySelectorAll("mjx-container")) formula.textContent = "x";
  const seen = new Set();
  for (const token of document.querySelectorAll(".highlight pre span")) {
    const box = token.closest(".cell_input, .cell_output, .admonition, .solution, details");
    const kind = `${token.className} in ${box ? box.className : ""}`;
    if (token.isConnected && seen.has(kind)) token.replaceWith(token.textContent);
    seen.add(kind);
  }
}"""

AXE = """async () => {
  const result = await axe.run(document, {resultTypes: ["violations"], preload: false});
  return result.violations.filter(v => ["serious", "critical"].includes(v.impact)).map(
    v => `${v.id} (${v.impact}): ${v.help}: ` + v.nodes.slice(0, 3).map(n => n.html.slice(0, 120)
         + " [" + n.any.concat(n.all, n.none).map(c => c.message).join("; ").slice(0, 160) + "]"
      ).join(" | "));
}"""


def find_browser() -> str | None:
    """Return the path of an installed Chromium (CHROMIUM names one), or None."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Say nothing: the browser reports what fails."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine alone; give its address."""
    handler = partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def axe_script() -> str:
    """Return the source of the accessibility checker axe-core, from its Python package."""
    import axe_playwright_python

    path = Path(str(axe_playwright_python.__file__)).parent / "axe.min.js"
    return path.read_text(encoding="utf-8")


def _is_local(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme in ("data", "blob", "about") or parts.hostname == "127.0.0.1"


def inspect_page(
    browser: Any, address: str, theme: str, width: int, *, accessibility: bool = True
) -> list[str]:
    """Open a page as a reader would see it and return what is wrong with it."""
    found: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=theme,
        is_mobile=width < 600,
        reduced_motion="reduce",
    )
    try:
        page = context.new_page()

        def gate(route: Any) -> None:
            if _is_local(route.request.url):
                route.continue_()
            else:
                found.append(f"external request: {route.request.url}")
                route.abort()

        def answered(response: Any) -> None:
            if response.status >= 400:
                found.append(f"HTTP {response.status}: {response.url}")

        def said(message: Any) -> None:
            if message.type == "error":
                found.append(f"console error: {message.text[:200]}")

        page.route("**/*", gate)
        page.on("response", answered)
        page.on("console", said)
        page.on("pageerror", lambda error: found.append(f"page error: {str(error)[:200]}"))
        page.goto(address, wait_until="load", timeout=60_000)
        page.evaluate("() => window.MathJax?.startup?.promise")
        found += page.evaluate(UNRENDERED)
        found += page.evaluate(SIDEWAYS)
        shown = page.evaluate("() => document.documentElement.dataset.theme || ''")
        if shown not in ("", theme):
            found.append(f"asked for the {theme} theme, got {shown!r}")
        found += page.evaluate(SLIDERS)
        # Scripts that wait for something to come into view run when the reader gets there.
        page.evaluate("() => window.scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_timeout(50)
        if accessibility:
            page.evaluate(THINNED)
            page.evaluate(axe_script() + "; undefined")
            found += [f"accessibility: {line}" for line in page.evaluate(AXE)]
    finally:
        context.close()
    return list(dict.fromkeys(found))
