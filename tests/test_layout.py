"""One chapter, one module, one path: the repository keeps tests/harness/layer_rules.py."""

from pathlib import Path

import layer_rules
import pytest

ROOT = Path(__file__).resolve().parent.parent
TREE = layer_rules.read_tree(ROOT)


@pytest.mark.parametrize("rule", layer_rules.RULES, ids=lambda rule: rule.__name__)
def test_layers_and_layout(rule):
    found = rule(TREE)
    assert not found, "\n".join(found)


def test_the_tree_that_was_looked_at_is_the_repository():
    assert "blocks/attention" in TREE.modules
    assert "blocks/attention" in TREE.notebooks
    assert TREE.toc
