"""Each rule for layers and layout catches a planted violation, and lets a sound tree pass."""

from dataclasses import replace

import layer_rules as rules
import pytest
from layer_rules import CELL_BREAK, Tree

SOUND = Tree(
    toc=("blocks/attention", "transformer/by_hand", "generation/translation"),
    pages=("notation", "benchmarks"),
    pending={
        "blocks/attention": ["sequences/fit", "blocks/tokens"],
        "transformer/by_hand": ["blocks/multihead"],
        "end": ["models/gpt", "models/vit"],
    },
    modules={
        "": "from tfmlib.models.gpt import GPT",
        "__main__": "from tfmlib.cli import main",
        "cli": "from tfmlib.generation.translation import translate",
        "data": "import numpy",
        "viz": "from tfmlib.viz.frames import show",
        "viz/frames": "from tfmlib import claims\nfrom . import palette",
        "viz/palette": "",
        "claims": "",
        "exercises": "from tfmlib.viz import show",
        "exercises/blocks": "",
        "exercises/blocks/attention": (
            "from tfmlib.exercises import check\nfrom tfmlib.blocks.attention import core"
        ),
        "blocks": '"""Parts."""',
        "blocks/tokens": "from tfmlib.data import load\nfrom tfmlib import viz, __version__",
        "blocks/attention": "SCALE = 2\ndef core(q): ...\n_inner = 1\nfrom math import sqrt",
        "blocks/multihead": "import tfmlib.blocks.attention as a\nfrom .attention import core",
        "generation": "",
        "generation/translation": "from tfmlib.blocks import attention\nimport torch",
        "models/gpt": "from ..blocks.multihead import MultiHeadAttention",
        "models/vit": "from tfmlib.models.vit.patches import Patches\n__all__ = ['Patches']",
        "models/vit/patches": "from tfmlib.models.vit import sizes\nfrom ..gpt import GPT",
        "models/vit/sizes": "from tfmlib.blocks.tokens import encode",
    },
    notebooks={
        "blocks/attention": (
            "from tfmlib.blocks.attention import core\nfrom tfmlib import viz\n"
            "from tfmlib.exercises.blocks.attention import check_row\n"
            "def by_loop(core):\n    SCALE = 1\n    return [SCALE for core in range(3)]\nsqrt = 2"
        ),
        "generation/translation": "from tfmlib.blocks import attention, tokens",
        "benchmarks": "from tfmlib import records",
    },
    tests=frozenset(
        {
            "test_layout",
            "blocks/test_tokens",
            "blocks/test_attention",
            "blocks/test_multihead",
            "transformer/test_by_hand",
            "generation/test_translation",
            "models/test_gpt",
            "models/test_vit",
            "models/vit/test_sizes",
            "exercises/blocks/test_attention",
        }
    ),
)


def with_module(name, code):
    return replace(SOUND, modules={**SOUND.modules, name: code})


def with_notebook(name, code):
    return replace(SOUND, notebooks={**SOUND.notebooks, name: code})


def with_pending(key, *entries):
    return replace(SOUND, pending={**SOUND.pending, key: list(entries)})


INSIDE = "from tfmlib.models.vit.patches import Patches"
PLANTED = [
    (rules.support_imports, with_module("viz/frames", "from tfmlib.blocks.attention import core")),
    (rules.support_imports, with_module("data", "from tfmlib.exercises import check")),
    (rules.support_imports, with_module("claims", "from tfmlib import load_pretrained")),
    (rules.support_imports, with_module("data", "def f():\n    import tfmlib.cli")),
    (rules.module_imports, with_module("blocks/tokens", "from tfmlib.blocks.attention import c")),
    (rules.module_imports, with_module("blocks/tokens", "from tfmlib.blocks import attention")),
    (rules.module_imports, with_module("blocks/tokens", "import tfmlib.blocks.attention")),
    (rules.module_imports, with_module("blocks/tokens", "from .attention import core")),
    (rules.module_imports, with_module("blocks/tokens", "from . import attention")),
    (rules.module_imports, with_module("blocks/tokens", "from ..models import gpt")),
    (
        rules.module_imports,
        with_module("blocks/tokens", "def late():\n    from tfmlib.models.gpt import GPT"),
    ),
    (
        rules.module_imports,
        with_module("blocks/tokens", "if TYPE_CHECKING:\n    from tfmlib.models.gpt import GPT"),
    ),
    (rules.module_imports, with_module("blocks/attention", "from tfmlib import load_pretrained")),
    (rules.module_imports, with_module("blocks/attention", "import tfmlib")),
    (rules.module_imports, with_module("models/gpt", "from tfmlib.cli import main")),
    (rules.module_imports, with_module("models/gpt", "from tfmlib.exercises import check")),
    (
        rules.module_imports,
        with_module("models/gpt", "from tfmlib.exercises.blocks.attention import check_row"),
    ),
    (rules.module_imports, with_module("models/vit/sizes", "from tfmlib.scaling.lora import L")),
    (rules.module_imports, with_module("models/gpt", "from tfmlib.models.vit import Patches")),
    (rules.inner_imports, with_module("cli", INSIDE)),
    (rules.inner_imports, with_module("cli", "from tfmlib.models.vit import patches")),
    (rules.inner_imports, with_module("models/gpt", "from .vit import patches")),
    (rules.inner_imports, with_module("exercises/models/vit", INSIDE)),
    (rules.inner_imports, with_notebook("models/vit", INSIDE)),
    (rules.package_imports, with_module("blocks", "from tfmlib.blocks.attention import core")),
    (rules.package_imports, with_module("blocks", "from .attention import core")),
    (rules.package_imports, with_module("exercises", "from tfmlib.blocks.attention import core")),
    (rules.package_imports, with_module("exercises/blocks", "from .attention import check")),
    (
        rules.exercise_imports,
        with_module("exercises/blocks/attention", "from tfmlib.blocks.multihead import M"),
    ),
    (rules.exercise_imports, with_module("exercises/blocks/attention", "import tfmlib")),
    (rules.notebook_imports, with_notebook("blocks/attention", "from tfmlib.models import gpt")),
    (
        rules.notebook_imports,
        with_notebook("blocks/attention", "a = 1\n\n\nfrom tfmlib.blocks.multihead import M"),
    ),
    (
        rules.notebook_imports,
        with_notebook(
            "blocks/attention", f"this is no python{CELL_BREAK}from tfmlib.models import gpt"
        ),
    ),
    (rules.notebook_imports, with_notebook("blocks/attention", "import tfmlib")),
    (rules.notebook_imports, with_notebook("blocks/attention", "from tfmlib.cli import main")),
    (
        rules.notebook_imports,
        replace(
            with_module("exercises/models/gpt", ""),
            notebooks={"blocks/attention": "from tfmlib.exercises.models.gpt import check"},
        ),
    ),
    (rules.unknown_modules, with_module("helpers/misc", "")),
    (rules.unknown_modules, with_module("helpers", "")),
    (rules.module_places, with_module("blocks/norm", "")),
    (rules.module_places, with_module("blocks/norm/layer", "")),
    (rules.pending_list, with_pending("blocks/nowhere", "blocks/tokens")),
    (rules.pending_list, with_pending("end", "blocks/attention")),
    (rules.pending_list, with_pending("end", "models/gpt", "models/gpt")),
    (rules.pending_list, with_pending("end", "viz/frames")),
    (rules.pending_list, with_pending("end", "gpt")),
    (rules.parts_in_order, with_pending("blocks/attention", "training/loop")),
    (rules.parts_in_order, replace(SOUND, toc=("blocks/attention", "appendix/more"))),
    (rules.notebooks_listed, with_notebook("blocks/tokens", "")),
    (rules.notebooks_listed, with_notebook("numbers", "")),
    (rules.notebooks_listed, replace(SOUND, toc=(*SOUND.toc, "generation/translation"))),
    (rules.exercises_belong, with_module("exercises/blocks/tokens", "")),
    (rules.redefinitions, with_notebook("blocks/attention", "def core(q, k): ...")),
    (rules.redefinitions, with_notebook("blocks/attention", "class core: ...")),
    (rules.redefinitions, with_notebook("blocks/attention", "a, core = 1, 2")),
    (rules.redefinitions, with_notebook("blocks/attention", "for SCALE in range(3):\n    pass")),
    (rules.redefinitions, with_notebook("blocks/attention", "if x:\n    def core(): ...")),
    (rules.redefinitions, with_notebook("blocks/attention", "with f() as core: ...")),
    (rules.redefinitions, with_notebook("blocks/attention", "from torch import core")),
    (rules.redefinitions, with_notebook("blocks/attention", "import torch.core as core")),
    (
        rules.redefinitions,
        with_notebook("blocks/attention", "from tfmlib.blocks.attention import naive as core"),
    ),
    (rules.redefinitions, with_notebook("models/vit", "class Patches: ...")),
    (rules.redefinitions, with_notebook("blocks/attention", f"no python{CELL_BREAK}core = 3")),
    (rules.tests_exist, replace(SOUND, tests=SOUND.tests - {"blocks/test_tokens"})),
    (rules.tests_exist, replace(SOUND, tests=SOUND.tests - {"exercises/blocks/test_attention"})),
    (rules.tests_exist, replace(SOUND, tests=SOUND.tests | {"blocks/test_norm"})),
    (rules.tests_exist, replace(SOUND, tests=SOUND.tests - {"models/test_vit"})),
    (rules.tests_exist, replace(SOUND, tests=SOUND.tests | {"models/vit/test_norm"})),
]


@pytest.mark.parametrize(
    ("rule", "planted"), PLANTED, ids=[f"{n}-{r.__name__}" for n, (r, _) in enumerate(PLANTED)]
)
def test_planted_violation_is_caught(rule, planted):
    assert rule(planted)
    assert set(rule(planted)) <= set(rules.check(planted)), "the rule is not among those run"


def test_every_rule_has_a_planted_violation():
    assert {rule for rule, _ in PLANTED} == set(rules.RULES)


def test_sound_tree_passes():
    assert rules.check(SOUND) == []


def test_a_module_inside_a_package_stands_where_its_chapter_does():
    assert SOUND.place("models/vit/sizes") == SOUND.place("models/vit")
    assert SOUND.place("viz/frames/player") is None


def test_pending_modules_stand_before_the_next_written_chapter():
    assert SOUND.order == (
        "sequences/fit",
        "blocks/tokens",
        "blocks/attention",
        "blocks/multihead",
        "transformer/by_hand",
        "generation/translation",
        "models/gpt",
        "models/vit",
    )


def test_repository_is_read_by_path(tmp_path):
    files = {
        "_toc.yml": "root: book/intro\nparts:\n- chapters:\n  - file: book/notation\n"
        "- chapters:\n  - file: book/blocks/attention\n",
        "book/pending.yml": "blocks/attention: [blocks/tokens]\n",
        "book/blocks/attention.ipynb": '{"cells": [{"cell_type": "code", "source": ["x = 1"]},'
        '{"cell_type": "code", "source": ["%matplotlib\\n", "import tfmlib.blocks.tokens"]}]}',
        "tfmlib/__init__.py": "",
        "tfmlib/blocks/__init__.py": "",
        "tfmlib/blocks/tokens.py": "X = 1",
        "tests/blocks/test_tokens.py": "",
        "tests/conftest.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    tree = rules.read_tree(tmp_path)
    assert tree.toc == ("blocks/attention",)
    assert tree.order == ("blocks/tokens", "blocks/attention")
    assert set(tree.modules) == {"", "blocks", "blocks/tokens"}
    assert rules.imports(tree.notebooks["blocks/attention"], tree.modules) == {"blocks/tokens"}
    assert tree.tests == {"blocks/test_tokens"}
    assert rules.check(tree) == []
