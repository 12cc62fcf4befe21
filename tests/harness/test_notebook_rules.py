"""Each rule for notebooks catches a planted violation, and lets a sound notebook pass."""

import chapters
import nbformat
import notebook_rules as rules
import pytest
from nbformat import v4


def stream(text, name="stdout"):
    return v4.new_output("stream", name=name, text=text)


def result(text, **data):
    return v4.new_output("execute_result", data={"text/plain": text, **data})


def picture(kind="image/png"):
    data = {"text/plain": "<Figure size 640x480 with 1 Axes>", kind: "aGVsbG8="}
    return v4.new_output("display_data", data=data)


def error(name="ValueError"):
    return v4.new_output("error", ename=name, evalue="no", traceback=["Traceback", "no"])


def code(source, *outputs, tags=(), alt=None):
    metadata = {"tags": list(tags)} if tags else {}
    if alt:
        metadata["mystnb"] = {"image": {"alt": alt}}
    return v4.new_code_cell(source, outputs=list(outputs), metadata=metadata)


def text(source):
    return v4.new_markdown_cell(source)


def notebook(*cells):
    """Return a notebook as tools/chapters.py would store it."""
    made = v4.new_notebook(cells=list(cells))
    for number, cell in enumerate((c for c in cells if c.cell_type == "code"), 1):
        cell.execution_count = number
    return chapters.normalise(made)


def sound():
    return notebook(
        text("# Title\n\nSee <https://example.org/home/page> and 1/2, and/or `a/b`."),
        code("import math\nx = 3"),
        code("print(x)\nx + 1", stream("3\n"), result("4")),
        code("_ = plot(x)", picture(), alt="A line that rises."),
        code("def f(x):\n    print(x)\n    return x"),
        code("f(-1)", error(), tags=["raises-exception"]),
        code("items.append(3)\nassert x == 3"),
        code("def shift(row):\n    ...\n\n\ncheck_shift(shift)", stream("not started\n")),
        code("page()", result("<HTML>", **{"text/html": '<svg role="img" aria-label="x"></svg>'})),
        code("%%time\nslow()", stream("1 s\n"), tags=["nbval-ignore-output"]),
    )


def with_cells(*cells):
    return notebook(text("# Title"), *cells)


def miscounted():
    made = sound()
    made.cells[2].execution_count = 7
    return made


def never_run():
    made = sound()
    made.cells[1].execution_count = None
    return made


def with_metadata():
    made = sound()
    made.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    return made


def with_timing():
    made = sound()
    made.cells[1].metadata["execution"] = {"iopub.status.busy": "2026-01-01T00:00:00Z"}
    return made


def html(value):
    return result("<HTML>", **{"text/html": value})


PLANTED = [
    (rules.execution_counts, miscounted()),
    (rules.execution_counts, never_run()),
    (rules.empty_cells, with_cells(code("x = 1"), code("  "))),
    (rules.empty_cells, notebook(text(""))),
    (rules.output_due, with_cells(code("x = 1\nx"))),
    (rules.output_due, with_cells(code("print(1)\nx = 2"))),
    (rules.output_due, with_cells(code("x.shape"))),
    (rules.output_due, with_cells(code("f'{x}'"))),
    (rules.output_due, with_cells(code("check_row(row)"))),
    (rules.output_due, with_cells(code("plt.show()"))),
    (rules.output_due, with_cells(code("verdict('B1')"))),
    (rules.semicolons, with_cells(code("x = 1\nplot(x);", picture(), alt="A line."))),
    (rules.errors, with_cells(code("f()", error()))),
    (rules.errors, with_cells(code("f()", tags=["raises-exception"]))),
    (rules.standard_error, with_cells(code("f()", stream("UserWarning: x", "stderr")))),
    (rules.addresses, with_cells(code("f", result("<function f at 0x7f2b5c0d1e50>")))),
    (rules.addresses, with_cells(code("f", html("<p>object at 0x55d0c8f0aa10</p>")))),
    (rules.absolute_paths, with_cells(code("open('/home/me/data.txt')"))),
    (rules.absolute_paths, with_cells(code("f()", stream("saved to /tmp/tmpabc/run\n")))),
    (rules.absolute_paths, with_cells(code("f()", stream("C:\\Users\\me\n")))),
    (rules.absolute_paths, notebook(text("Look into /Users/me/book."))),
    (rules.absolute_paths, with_cells(code("f", html('<a href="/home/x/y">x</a>')))),
    (rules.markers, with_cells(code("f()", tags=["nbval-skip"]))),
    (rules.markers, with_cells(code("# NBVAL_IGNORE_OUTPUT\nf()"))),
    (rules.markers, with_cells(code("f()  # NBVAL_SKIP"))),
    (rules.markers, with_cells(code("# PYTEST_VALIDATE_IGNORE_OUTPUT\nf()"))),
    (rules.alternative_texts, with_cells(code("plot()", picture()))),
    (rules.alternative_texts, with_cells(code("plot()", picture("image/svg+xml")))),
    (rules.alternative_texts, with_cells(code("plot()", picture(), alt="  "))),
    (rules.alternative_texts, with_cells(code("f()", html('<img src="x.png">')))),
    (rules.alternative_texts, with_cells(code("f()", html('<img alt="" src="x.png">')))),
    (rules.alternative_texts, with_cells(code("f()", html("<svg><rect/></svg>")))),
    (rules.alternative_texts, notebook(text("![](x.png)"))),
    (rules.cell_length, with_cells(code("\n".join(f"x{i} = {i}" for i in range(26))))),
    (
        rules.widgets,
        with_cells(
            code("w", v4.new_output("display_data", data={rules.WIDGET: {"model_id": "a"}}))
        ),
    ),
    (rules.normal_form, with_metadata()),
    (rules.normal_form, with_timing()),
    (rules.size, with_cells(code("f()", stream("x" * 1_000_001)))),
]


@pytest.mark.parametrize(
    ("rule", "planted"), PLANTED, ids=[f"{n}-{r.__name__}" for n, (r, _) in enumerate(PLANTED)]
)
def test_planted_violation_is_caught(rule, planted):
    assert rule(planted)
    assert set(rule(planted)) <= set(rules.check(planted)), "the rule is not among those run"


def test_every_rule_has_a_planted_violation():
    assert {rule for rule, _ in PLANTED} == set(rules.RULES)


def test_sound_notebook_passes():
    assert rules.check(sound()) == []


def test_ignored_cells_have_one_budget_for_the_book():
    def chapter(cells, ignored):
        return with_cells(
            *(
                code(f"x{n} = 1", tags=["nbval-ignore-output"] if n < ignored else ())
                for n in range(cells)
            )
        )

    within = {"a": chapter(60, 3), "b": chapter(40, 0)}
    assert rules.ignored_over_budget(within) == []
    over = {"a": chapter(60, 3), "b": chapter(39, 0)}
    (violation,) = rules.ignored_over_budget(over)
    assert violation.startswith("3 of 99")
    skipped = {"a": with_cells(code("x = 1", tags=["skip-execution"]))}
    assert rules.ignored_over_budget(skipped)


def test_normal_form_of_a_stored_notebook_survives_a_round_trip(tmp_path):
    path = tmp_path / "a.ipynb"
    assert chapters.write(sound(), path)
    again = nbformat.read(path, as_version=4)
    assert rules.check(again) == []
    assert not chapters.write(again, path), "writing it again changed it"
