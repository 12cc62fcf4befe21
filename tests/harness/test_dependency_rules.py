"""Each rule for dependencies catches a planted violation, and lets sound files pass."""

import dependency_rules as rules
import pytest

PROJECT = {
    "name": "tfmlib",
    "requires-python": ">=3.11",
    "dependencies": ["torch>=2.6,<3", "numpy>=1.26"],
    "optional-dependencies": {
        "translation": ["sacrebleu>=2.4"],
        "book": ["tfmlib[translation]", "matplotlib>=3.9", "PyYAML>=6"],
        "test": ["pytest>=8"],
        "bench": ["psutil>=5"],
    },
}
CONSTRAINTS = """# a comment
torch==2.13.0
numpy==2.4.6
sacrebleu==2.6.0
matplotlib==3.11.2
pyyaml==6.0.3
pytest==9.2.0
psutil==7.2.2
cycler==0.12.1
"""
ENVIRONMENT = {
    "dependencies": [
        "python>=3.11",
        "pytorch>=2.6,<3",
        "numpy>=1.26",
        "sacrebleu>=2.4",
        "pyyaml>=6",
        "matplotlib>=3.9",
        "pip",
        {"pip": ["pytest>=8", "--editable ."]},
    ]
}
REQUIRES = {"matplotlib": ["cycler>=0.10", 'mock; extra == "dev"', 'old; python_version < "3"']}
MODULES = {
    "viz": "import matplotlib.pyplot",
    "blocks/attention": "import math\nimport torch\nfrom tfmlib import viz\nfrom . import tokens",
    "cli/translation": "def score():\n    import sacrebleu",
}
DISTRIBUTIONS = {"yaml": ["PyYAML"]}


def requires(name):
    return REQUIRES.get(name, [])


def test_sound_files_pass():
    assert rules.exact_pins(CONSTRAINTS) == []
    assert rules.pins_in_range(PROJECT, CONSTRAINTS) == []
    assert rules.pins_complete(PROJECT, CONSTRAINTS, requires) == []
    assert rules.conda_agrees(PROJECT, ENVIRONMENT) == []
    assert rules.undeclared_imports(PROJECT, MODULES, DISTRIBUTIONS) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("numpy==2.4.6", "numpy>=2.4"),
        ("numpy==2.4.6", "numpy==2.*"),
        ("numpy==2.4.6", "numpy"),
        ("numpy==2.4.6", "numpy==2.4.6\nNumPy==2.4.6"),
        ("torch==2.13.0", "torch==2.13.0+cpu"),
    ],
)
def test_inexact_pin_is_caught(old, new):
    assert rules.exact_pins(CONSTRAINTS.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("numpy==2.4.6\n", ""),
        ("psutil==7.2.2\n", ""),
        ("numpy==2.4.6", "numpy==1.25"),
        ("torch==2.13.0", "torch==3.0"),
    ],
)
def test_missing_pin_and_pin_out_of_range_are_caught(old, new):
    assert rules.pins_in_range(PROJECT, CONSTRAINTS.replace(old, new))


def test_unpinned_requirement_of_a_requirement_is_caught():
    (violation,) = rules.pins_complete(
        PROJECT, CONSTRAINTS.replace("cycler==0.12.1\n", ""), requires
    )
    assert violation.startswith("cycler")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("numpy>=1.26", "numpy>=1.20"),
        ("numpy>=1.26", "scipy>=1"),
        ("pytorch>=2.6,<3", "torch>=2.6,<3"),
        ("python>=3.11", "python>=3.10"),
        ("python>=3.11", "matplotlib-base>=3.9"),
    ],
)
def test_differing_environment_is_caught(old, new):
    lines = [new if line == old else line for line in ENVIRONMENT["dependencies"]]
    assert rules.conda_agrees(PROJECT, {"dependencies": lines})


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("blocks/attention", "import einops"),
        ("blocks/attention", "def f():\n    import einops"),
        ("blocks/attention", "from matplotlib import pyplot"),
        ("data/text", "try:\n    import yaml\nexcept ImportError:\n    yaml = None"),
        ("viz", "import plotly"),
    ],
)
def test_undeclared_import_is_caught(name, code):
    assert rules.undeclared_imports(PROJECT, {name: code}, DISTRIBUTIONS)
