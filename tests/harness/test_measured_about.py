"""The line under a chapter's title."""

import measured_about


def cell(kind, source, tags=()):
    return {"cell_type": kind, "source": source, "metadata": {"tags": list(tags)}}


def test_minutes_grow_with_words_and_with_lines_that_are_shown():
    words = {"cells": [cell("markdown", "word " * 2300)]}
    code = {"cells": [cell("code", "x = 1\n" * 240)]}
    hidden = {"cells": [cell("code", "x = 1\n" * 240, tags=["hide-input"])]}
    assert measured_about.minutes(words) == measured_about.minutes(code) == 10
    assert measured_about.minutes(hidden) == 5


def test_line_names_module_and_exercises():
    notebook = {
        "cells": [
            cell("markdown", "# T"),
            cell("markdown", "```{exercise} One\n:label: a\n```"),
            cell("markdown", "````{exercise-start}\n:label: b\n````"),
        ]
    }
    line = measured_about.about(notebook, "tfmlib.blocks.attention", "../api_blocks.html")
    assert "5 minutes · 2 exercises · module" in line
    assert 'href="../api_blocks.html#module-tfmlib.blocks.attention"' in line
    assert "module" not in measured_about.about(notebook, None, "")
