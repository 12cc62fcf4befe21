"""The repository's address, known only where the book is published, gets where it belongs."""

from types import SimpleNamespace

import chapters
import colab
import fill_links
import measured_sphinx
import nbformat
import pytest

ADDRESS = "https://github.com/OWNER/NAME"
NOTEBOOKS = {"book/blocks/attention.ipynb": "Attention: a | b"}


def test_links_open_each_chapter_on_colab_and_binder():
    text = fill_links.links(ADDRESS, "main", NOTEBOOKS, "https://pages.example/")
    assert (
        "(https://colab.research.google.com/github/OWNER/NAME/blob/colab/"
        "book/blocks/attention.ipynb)" in text
    )
    assert (
        "(https://mybinder.org/v2/gh/OWNER/NAME/main"
        "?urlpath=lab%2Ftree%2Fbook%2Fblocks%2Fattention.ipynb)" in text
    )
    assert "<https://pages.example/>" in text
    assert r"| Attention: a \| b |" in text


def test_chapters_are_those_of_the_table_of_contents():
    titles = fill_links.chapters(fill_links.ROOT)
    assert "book/blocks/attention.ipynb" in titles
    assert set(titles) == {
        path.relative_to(fill_links.ROOT).as_posix() for path in chapters.find([])
    }


def test_readme_is_filled_once_and_stays(tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text((fill_links.ROOT / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setenv("BOOK_REPOSITORY_URL", ADDRESS)
    assert fill_links.main([str(readme)]) == 0
    once = readme.read_text(encoding="utf-8")
    assert "OWNER/NAME" in once
    assert fill_links.main([str(readme)]) == 0
    assert readme.read_text(encoding="utf-8") == once


@pytest.mark.parametrize("address", ["", "https://example.org/a/b", "https://github.com/a"])
def test_address_that_colab_cannot_open_changes_nothing(tmp_path, monkeypatch, capsys, address):
    readme = tmp_path / "README.md"
    readme.write_text(f"{fill_links.START}\nas it was\n{fill_links.STOP}", encoding="utf-8")
    monkeypatch.setenv("BOOK_REPOSITORY_URL", address)
    assert fill_links.main([str(readme)]) == 2
    assert "as it was" in readme.read_text(encoding="utf-8")
    assert repr(address) in capsys.readouterr().err


def test_markers_must_be_there():
    with pytest.raises(ValueError, match="markers"):
        fill_links.fill("no markers", "x")


def test_pages_point_nowhere_without_an_address(monkeypatch):
    monkeypatch.delenv("BOOK_REPOSITORY_URL", raising=False)
    config = SimpleNamespace(html_theme_options={"repository_url": "", "launch_buttons": {"a": 1}})
    measured_sphinx.set_repository(None, config)
    assert config.html_theme_options == {}


def test_pages_get_their_buttons_with_an_address(monkeypatch):
    monkeypatch.setenv("BOOK_REPOSITORY_URL", f"{ADDRESS}/")
    monkeypatch.setenv("BOOK_REPOSITORY_BRANCH", "draft")
    config = SimpleNamespace(html_theme_options={})
    measured_sphinx.set_repository(None, config)
    options = config.html_theme_options
    assert options["repository_url"] == ADDRESS
    assert options["repository_branch"] == "draft"
    assert options["use_edit_page_button"] is options["use_issues_button"] is True
    assert {"binderhub_url", "colab_url"} <= set(options["launch_buttons"])


def test_colab_gets_every_chapter_with_one_more_cell(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BOOK_REPOSITORY_URL", ADDRESS)
    monkeypatch.setenv("BOOK_REPOSITORY_BRANCH", "v1")
    assert colab.main([str(tmp_path)]) == 0
    written = sorted(tmp_path.rglob("*.ipynb"))
    assert len(written) == len(chapters.find([]))
    for path in written:
        own = nbformat.read(chapters.ROOT / path.relative_to(tmp_path), as_version=4)
        copy = nbformat.read(path, as_version=4)
        nbformat.validate(copy)
        assert len(copy.cells) == len(own.cells) + 1
        first = next(cell for cell in copy.cells if cell.cell_type == "code")
        assert first.source == (
            '%pip install --quiet "tfmlib[book] @ git+https://github.com/OWNER/NAME@v1"'
        )
    assert f"{len(written)} chapters" in capsys.readouterr().out


@pytest.mark.parametrize("address", ["", "https://example.org/a/b"])
def test_colab_without_an_address_writes_nothing(tmp_path, monkeypatch, capsys, address):
    monkeypatch.setenv("BOOK_REPOSITORY_URL", address)
    assert colab.main([str(tmp_path)]) == 2
    assert not list(tmp_path.rglob("*"))
    assert repr(address) in capsys.readouterr().err


def test_the_colab_button_opens_the_branch_with_the_installing_cell():
    inner = {"url": "https://colab.research.google.com/github/O/N/blob/main/book/a/b.ipynb"}
    other = {"url": "https://mybinder.org/v2/gh/O/N/main?urlpath=lab/tree/book/a/b.ipynb"}
    buttons = [{"type": "group", "buttons": [inner, other]}, {"url": None}]
    measured_sphinx.point_colab_at_its_branch(buttons, {"theme_repository_branch": "main"})
    assert inner["url"].endswith("/O/N/blob/colab/book/a/b.ipynb")
    assert other["url"].endswith("/O/N/main?urlpath=lab/tree/book/a/b.ipynb")


def test_parameters_of_a_signature_are_no_definitions_without_a_term():
    page = "<dl><dt>f(<dl>\n<dd>a,</dd>\n<dd>b</dd>\n</dl>)</dt><dd>What f does.</dd></dl>"
    mended = measured_sphinx.SIGNATURE.sub(measured_sphinx._plain_parameters, page)
    assert mended == (
        '<dl><dt>f(<div class="sig-parameters"><div>a,</div>\n<div>b</div>\n</div>)</dt>'
        "<dd>What f does.</dd></dl>"
    )
