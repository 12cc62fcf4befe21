"""The book is built again when something that it is made of has changed, and only then."""

import os

import build_book
import pytest


@pytest.fixture
def repository(tmp_path, monkeypatch):
    files = ["_config.yml", "_toc.yml", "constraints.txt", "_static/a.css", "book/intro.md"]
    files += ["tools/measured_sphinx.py", "_build/html/index.html", "_build/book-is-built"]
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
        os.utime(path, (1000, 1000))
    monkeypatch.setattr(build_book, "ROOT", tmp_path)
    monkeypatch.setattr(build_book, "BUILD", tmp_path / "_build")
    monkeypatch.setattr(build_book, "HTML", tmp_path / "_build/html")
    monkeypatch.setattr(build_book, "STAMP", tmp_path / "_build/book-is-built")
    return tmp_path


@pytest.fixture
def builder(monkeypatch):
    """Stand in for Sphinx: note the runs and whether there was an old build; end with `code`."""

    class Builder:
        code = 0
        runs = 0
        found_old = None

        def run(self, command, **options):
            self.runs += 1
            self.found_old = build_book.HTML.exists()
            build_book.HTML.mkdir(parents=True, exist_ok=True)
            (build_book.HTML / "index.html").touch()
            return self

        @property
        def returncode(self):
            return self.code

    builder = Builder()
    monkeypatch.setattr(build_book.subprocess, "run", builder.run)
    return builder


def test_fresh_book_is_left_alone(repository, builder):
    assert build_book.is_fresh()
    assert build_book.main(["--if-needed"]) == 0
    assert builder.runs == 0


@pytest.mark.parametrize("name", ["book/intro.md", "_toc.yml"])
def test_changed_page_is_built_on_top_of_the_old_ones(repository, builder, name):
    os.utime(repository / name, (2000, 2000))
    assert not build_book.is_fresh()
    assert build_book.main(["--if-needed"]) == 0
    assert builder.runs == 1
    assert builder.found_old
    assert build_book.is_fresh()


@pytest.mark.parametrize(
    "name", ["_config.yml", "constraints.txt", "_static/a.css", "tools/measured_sphinx.py"]
)
def test_changed_settings_build_every_page_anew(repository, builder, name):
    os.utime(repository / name, (2000, 2000))
    assert build_book.main(["--if-needed"]) == 0
    assert not builder.found_old


def test_failed_build_is_thrown_away(repository, builder, capsys):
    builder.code = 1
    assert build_book.main([]) == 1
    assert not build_book.BUILD.exists()
    assert not build_book.is_fresh()
    assert "not built" in capsys.readouterr().err
