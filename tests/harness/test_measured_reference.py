"""The reference of the package: nothing public is missing, and docstrings come out as meant."""

import measured_reference
import pytest
import yaml

ROOT = measured_reference.ROOT
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [
    chapter["file"].removeprefix(measured_reference.PREFIX)
    for part in TOC["parts"]
    for chapter in part["chapters"]
    if chapter["file"].startswith(measured_reference.PREFIX)
]


def test_every_module_of_the_package_has_its_place():
    described = {name for page in PAGES for name in measured_reference.modules(page)}
    for path in (ROOT / "tfmlib").rglob("*.py"):
        name = path.relative_to(ROOT / "tfmlib").with_suffix("").as_posix()
        public = path.stem not in ("__init__", "__main__")
        chapter_checker = name.startswith("exercises/")
        if public and not name.startswith("cli/") and not chapter_checker:
            inside = {name, name.rpartition("/")[0]}
            assert inside & described, f"{name} is on no page of the reference"


def test_modules_stand_in_the_order_of_their_chapters():
    order = measured_reference.chapters()
    for page in PAGES:
        placed = [name for name in measured_reference.modules(page) if name in order]
        assert placed == sorted(placed, key=order.index)


def test_a_module_links_its_chapter():
    text = measured_reference.sections("blocks")
    assert ".. automodule:: tfmlib.blocks.attention\n   :members:" in text
    assert "Chapter: [](/book/blocks/attention.ipynb)" in text


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("a * b | c_", r"a \* b \| c\_"),
        ("* `mask & other` and `a | b`", "* `mask & other` and `a | b`"),
        ("With $a_1 * b$ it is", "With :math:`a_1 * b` it is"),
        ("A *core* is exact.", "A *core* is exact."),
        ("Args:\n    x: a star * here.", "Args:\n    x: a star \\* here."),
        ("Call\n\n    f(*a, **b)\n\nfor it.", None),
    ],
)
def test_docstrings_become_markup(docstring, expected):
    lines = docstring.split("\n")
    measured_reference.to_rst(None, "function", "f", None, None, lines)
    if expected is None:
        assert ".. code-block:: python" in lines
        assert "    f(*a, **b)" in lines
        assert lines[-1] == "for it."
    else:
        assert "\n".join(lines) == expected
