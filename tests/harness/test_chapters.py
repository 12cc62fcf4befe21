"""The tool that executes chapters: what it keeps, what it leaves out, how it fails."""

import os

import chapters
import nbformat
import pytest

TEXT = """---
kernelspec: {name: anything}
---
# Title

Some text with $x^2$.

```{code-cell} ipython3
:tags: [hide-input]
x = 3
print(x)
```

```{code-cell}
---
mystnb:
  image:
    alt: A line.
tags: [nbval-ignore-output]
---
x + 1
```

More.

+++

```{exercise}
:label: one
Do it.
```
"""


def run(path, text):
    chapters.write(chapters.from_markdown(text), path)
    return chapters.main([str(path)])


def test_text_becomes_a_notebook_in_its_normal_form():
    made = chapters.from_markdown(TEXT)
    assert [cell.cell_type for cell in made.cells] == [
        "markdown",
        "code",
        "code",
        "markdown",
        "markdown",
    ]
    assert made.cells[1].metadata == {"tags": ["hide-input"]}
    assert made.cells[2].metadata == {
        "tags": ["nbval-ignore-output"],
        "mystnb": {"image": {"alt": "A line."}},
    }
    assert made.metadata == chapters.NOTEBOOK_METADATA
    assert made.cells[4].source.startswith("```{exercise}")
    nbformat.validate(made)


def test_identifiers_depend_on_the_cell_alone():
    made = chapters.from_markdown(TEXT)
    longer = chapters.from_markdown(TEXT.replace("# Title", "# Another\n\n+++\n\n# Title"))
    assert [cell.id for cell in longer.cells[2:]] == [cell.id for cell in made.cells[1:]]
    twice = chapters.from_markdown("same\n\n+++\n\nsame\n")
    assert twice.cells[0].id != twice.cells[1].id


def test_execution_stores_outputs_and_changes_nothing_the_second_time(tmp_path):
    path = tmp_path / "a.ipynb"
    assert run(path, TEXT) == 0
    stored = nbformat.read(path, as_version=4)
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2]
    assert code[0].outputs[0].text == "3\n"
    assert code[1].outputs[0].data["text/plain"] == "4"
    once = path.read_bytes()
    assert chapters.main([str(path)]) == 0
    assert path.read_bytes() == once


def test_failing_cell_is_named_and_the_file_is_left_as_it_was(tmp_path, capsys):
    path = tmp_path / "a.ipynb"
    chapters.write(
        chapters.from_markdown("```{code-cell}\n1\n```\n\n```{code-cell}\n1 / 0\n```"), path
    )
    before = path.read_bytes()
    assert chapters.main([str(path)]) == 1
    assert path.read_bytes() == before
    error = capsys.readouterr().err
    assert "code cell 2 of 2" in error
    assert "ZeroDivisionError" in error


def test_expected_error_is_stored_without_folders_of_this_machine(tmp_path):
    path = tmp_path / "a.ipynb"
    text = "```{code-cell}\n:tags: [raises-exception]\nimport json\njson.loads('x')\n```"
    assert run(path, text) == 0
    (cell,) = nbformat.read(path, as_version=4).cells
    (output,) = cell.outputs
    assert output.ename == "JSONDecodeError"
    assert "json/decoder.py" in "\n".join(output.traceback)
    assert not any(f"{os.sep}lib{os.sep}python" in line for line in output.traceback)


def test_chapter_runs_in_its_own_folder_on_one_thread(tmp_path):
    (tmp_path / "beside.txt").write_text("here", encoding="utf-8")
    text = """```{code-cell}
import os
from pathlib import Path
print(Path("beside.txt").read_text(), os.environ["OMP_NUM_THREADS"])
```"""
    assert run(tmp_path / "a.ipynb", text) == 0
    (cell,) = nbformat.read(tmp_path / "a.ipynb", as_version=4).cells
    assert cell.outputs[0].text == "here 1\n"


def test_names_are_short_or_paths():
    (path,) = chapters.find(["blocks/attention"])
    assert path == chapters.BOOK / "blocks" / "attention.ipynb"
    assert chapters.find([str(path)]) == [path]
    with pytest.raises(FileNotFoundError, match=r"no chapter 'blocks/nothing'.*blocks/attention"):
        chapters.find(["blocks/nothing"])


def test_live_controls_leave_their_picture_and_no_dead_view(tmp_path):
    text = (
        "```{code-cell} ipython3\nfrom tfmlib import viz\n"
        'viz.explore(lambda n: "<p>x</p>" * n, {"n": viz.Slider(1, 3, 2)}, alt="x")\n```\n'
    )
    path = tmp_path / "a.ipynb"
    assert run(path, text) == 0
    (output,) = nbformat.read(path, as_version=4).cells[0].outputs
    assert output.data == {"text/html": "<p>x</p><p>x</p>", "text/plain": "<explorer of n>"}
