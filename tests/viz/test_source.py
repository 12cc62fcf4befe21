"""Listings come from the module itself."""

import ast
from pathlib import Path

import pytest

from tfmlib import viz
from tfmlib.viz import plots, style


def test_listing_is_the_module_s_own_source():
    shown = viz.show_source(plots.text_colour, docstring=True)
    source = viz.source_of(plots.text_colour)
    assert source in Path(plots.__file__).read_text(encoding="utf-8")
    assert shown.data == f"From `tfmlib/viz/plots.py`:\n\n```python\n{source}\n```"


def test_without_docstring_the_code_is_the_same():
    for obj in (plots.heatmap, viz.Frames, viz.Frames.__repr__, style.use_style):
        short = viz.source_of(obj, docstring=False)
        assert '"""' not in short
        full = ast.parse(viz.source_of(obj))
        for node in ast.walk(full):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
                node.body.pop(0)
        assert ast.dump(full) == ast.dump(ast.parse(short))


def test_a_body_of_only_a_docstring_keeps_it():
    def stub():
        """All there is."""

    assert '"""All there is."""' in viz.source_of(stub, docstring=False)


def test_no_source():
    with pytest.raises(TypeError, match="no source"):
        viz.source_of(len)


def test_several_modules():
    with pytest.raises(ValueError, match="one module"):
        viz.show_source(plots.heatmap, style.use_style)
