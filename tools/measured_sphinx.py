"""The book's own Sphinx extension: its repository's address, and mends of the theme.

With BOOK_REPOSITORY_URL set (https://HOST/OWNER/NAME; BOOK_REPOSITORY_BRANCH, default main), pages
get buttons for the repository, and notebooks get buttons that open them on Colab and Binder.
Without it a page points nowhere.
"""

import os
import re
from typing import Any

from fill_links import COLAB_BRANCH
from sphinx.application import Sphinx
from sphinx.config import Config

# The theme reads the class of this element whenever a margin note comes into view, but leaves the
# element out of pages that have no section headings.
SECONDARY_SIDEBAR = """
document.addEventListener("DOMContentLoaded", () => {
  if (!document.querySelector("div.bd-sidebar-secondary")) {
    const sidebar = document.createElement("div");
    sidebar.className = "bd-sidebar-secondary measured-placeholder";
    sidebar.hidden = true;
    document.body.append(sidebar);
  }
});
"""

# Sphinx writes the parameters of a long signature as definitions (dd) of no term (dt).
SIGNATURE = re.compile(r"<dl>\s*((?:<dd>(?:(?!<dd>|<dl).)*?</dd>\s*)+)</dl>", re.DOTALL)


def _plain_parameters(signature: re.Match[str]) -> str:
    lines = signature.group(1).replace("<dd>", "<div>").replace("</dd>", "</div>")
    return f'<div class="sig-parameters">{lines}</div>'


def set_repository(app: Sphinx, config: Config) -> None:
    """Turn on the repository's and the launch buttons if the repository's address is known."""
    address = os.environ.get("BOOK_REPOSITORY_URL", "").strip().rstrip("/")
    options = config.html_theme_options
    if not address:
        for name in ("repository_url", "launch_buttons"):
            options.pop(name, None)
        return
    options["repository_url"] = address
    options["repository_branch"] = os.environ.get("BOOK_REPOSITORY_BRANCH", "main")
    options["path_to_docs"] = ""
    for name in ("use_repository_button", "use_edit_page_button", "use_issues_button"):
        options[name] = True
    options["launch_buttons"] = {
        "notebook_interface": "jupyterlab",
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
    }


def drop_live_code(app: Sphinx, config: Config) -> None:
    """Take the theme's live code out: it writes a foreign server's address into every page."""
    for listeners in list(app.events.listeners.values()):
        for listener in list(listeners):
            if getattr(listener.handler, "__module__", "").split(".")[0] == "sphinx_thebe":
                app.disconnect(listener.id)


def point_colab_at_its_branch(buttons: list[dict[str, Any]], context: dict[str, Any]) -> None:
    """Let the Colab button open the copy that installs the package: see tools/colab.py."""
    branch = context.get("theme_repository_branch") or "main"
    for button in buttons:
        point_colab_at_its_branch(button.get("buttons", []), context)
        address = str(button.get("url") or "")
        if address.startswith("https://colab.research.google.com/"):
            button["url"] = address.replace(f"/blob/{branch}/", f"/blob/{COLAB_BRANCH}/")


def mend_page(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Drop scripts that stand twice on a page (declaring a constant again is an error), and the
    style sheet of the live code.
    """
    if os.environ.get("BOOK_REPOSITORY_URL"):
        point_colab_at_its_branch(context.get("header_buttons", []), context)
    if "body" in context:
        # Entries of a bibliography are no list items to a screen reader, so their box is no list.
        context["body"] = context["body"].replace(
            '<div role="list" class="citation-list">', '<div class="citation-list">'
        )
        context["body"] = SIGNATURE.sub(_plain_parameters, context["body"])
    seen: set[tuple[str, str]] = set()
    kept = []
    for script in context.get("script_files", []):
        body = getattr(script, "attributes", {}).get("body") or ""
        key = (str(getattr(script, "filename", script)), body)
        if key in seen:
            continue
        seen.add(key)
        kept.append(script)
    context["script_files"] = kept
    context["css_files"] = [
        sheet
        for sheet in context.get("css_files", [])
        if "sphinx-thebe" not in str(getattr(sheet, "filename", sheet))
    ]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_js_file(None, body=SECONDARY_SIDEBAR)
    app.connect("config-inited", set_repository, priority=900)
    app.connect("config-inited", drop_live_code, priority=900)
    app.connect("html-page-context", mend_page, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
