"""The commands as a user gives them: train, interrupt, resume, score, translate, and mistakes."""

import gzip
import io
import json
import sys

import pytest

from tfmlib.cli import train_translator
from tfmlib.cli.main import main
from tfmlib.training.loop import History

GERMAN = ["Ein Hund läuft.", "Zwei Katzen schlafen.", "Ein Kind spielt.", "Eine Frau liest."] * 8
ENGLISH = ["A dog runs.", "Two cats sleep.", "A child plays.", "A woman reads."] * 8
SMALL = ["--d-model", "32", "--n-heads", "2", "--d-ff", "64", "--n-layers", "1", "--dropout", "0"]
SMALL += ["--vocab-size", "300", "--warmup", "10", "--batch-tokens", "200", "--average", "2"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    (folder / "de").write_text("\n".join(GERMAN) + "\n", encoding="utf-8")
    (folder / "en.gz").write_bytes(gzip.compress(("\n".join(ENGLISH) + "\n").encode()))
    return folder


def train_command(files, out, *more):
    pair = [str(files / "de"), str(files / "en.gz")]
    command = ["translation", "train", "--train", *pair, "--valid", *pair, "--out", str(out)]
    return [*command, "--device", "cpu", *SMALL, *more]


@pytest.fixture(scope="module")
def trained(files):
    run = files / "run"
    assert main(train_command(files, run, "--epochs", "40")) == 0
    return run


def test_learns_and_scores(files, trained, capsys):
    test = ["--test", str(files / "de"), str(files / "en.gz")]
    assert main(["translation", "score", "--run", str(trained), *test, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bleu"] > 90  # it has seen these sentences; an untrained model scores 0
    assert result["bleu_low"] <= result["bleu"] <= result["bleu_high"]
    assert result["chrf"] > 90
    assert "tok:13a" in result["signature"]
    assert result["sentences"] == 32
    out = files / "out.txt"
    more = ["--beam", "1", "--translations", str(out)]
    assert main(["translation", "score", "--run", str(trained), *test, *more]) == 0
    assert "95 % interval" in capsys.readouterr().out
    assert out.read_text(encoding="utf-8").split("\n")[:2] == ENGLISH[:2]


def test_translates_line_by_line(trained, capsys, monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO("Ein Hund läuft.\n\nZWEI KATZEN SCHLAFEN.\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(sys.stdout, "reconfigure", lambda **how: None, raising=False)
    assert main(["translation", "translate", "--run", str(trained)]) == 0
    assert capsys.readouterr().out == "A dog runs.\n\nTwo cats sleep.\n"


@pytest.mark.parametrize("how", [[], ["--merge-dropout", "0.3"]])
def test_an_interrupted_run_goes_on(files, capsys, monkeypatch, tmp_path, how):
    """Stopped in the third epoch and resumed: the same weights as without the stop."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(train_command(files, whole, "--epochs", "4", *how)) == 0
    evaluate, calls = train_translator._evaluate, []

    def interrupt(*args, **named):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(*args, **named)

    monkeypatch.setattr(train_translator, "_evaluate", interrupt)
    assert main(train_command(files, broken, "--epochs", "4", *how)) == 130
    assert not (broken / "translator.json").exists()
    calls.clear()
    monkeypatch.setattr(
        train_translator, "_evaluate", lambda *a, **k: calls.append(1) or evaluate(*a, **k)
    )
    assert main(train_command(files, broken, "--epochs", "4", *how)) == 0
    assert len(calls) == 2  # the third epoch and the fourth: the first two were not run again
    name = "model.safetensors"
    assert (broken / name).read_bytes() == (whole / name).read_bytes()
    capsys.readouterr()
    assert main(train_command(files, whole, "--epochs", "4", *how)) == 0
    assert "trained already" in capsys.readouterr().err
    assert main(train_command(files, whole, "--epochs", "5", *how)) == 2
    assert "another epochs: 4 there, 5 asked for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--train", "{}/short", "{}/en.gz"], "has 1 lines and"),
        (["--train", "{}/empty", "{}/en.gz"], "the file is empty"),
        (["--train", "{}/latin", "{}/latin"], "expected UTF-8, got the byte 0xe4"),
        (["--train", "{}/nowhere", "{}/en.gz"], "nowhere: no such file"),
        (["--train", "{}/plain.gz", "{}/en.gz"], "expected a whole gzip file"),
        (["--out", "{}"], "is not empty, and not a run"),
        (["--dropout", "1.5"], "dropout must lie in [0, 1); got 1.5"),
        (["--vocab-size", "10"], "vocab_size must be at least 260; got 10"),
        (["--threads", "0"], "--threads must be positive; got 0"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_mistakes_in_training_get_one_line(files, capsys, change, words):
    (files / "short").write_text("Ein Hund.\n", encoding="utf-8")
    (files / "empty").write_text("", encoding="utf-8")
    (files / "latin").write_bytes("läuft\n".encode("latin-1"))
    (files / "plain.gz").write_text("not compressed", encoding="utf-8")
    change = [part.format(files) for part in change]
    assert main([*train_command(files, files / "never"), *change]) == 2
    lines = capsys.readouterr().err.strip().split("\n")
    assert lines[-1].startswith("tfmlib: ")
    assert words in lines[-1]


def test_unusable_pairs_are_left_out_and_counted(files, tmp_path, capsys):
    german = [*GERMAN, "", "Ein Hund.", "Sehr langer Satz " * 200]
    english = [*ENGLISH, "Nothing.", "  ", "A very long sentence."]
    for name, lines in (("de", german), ("en", english)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    pair = [str(tmp_path / "de"), str(tmp_path / "en")]
    assert main([*train_command(files, tmp_path / "run", "--epochs", "1"), "--train", *pair]) == 0
    said = capsys.readouterr().err
    assert "2 training pairs with a blank side are left out" in said
    assert "1 pairs of more than 256 tokens are left out" in said
    blank = [*train_command(files, tmp_path / "no", "--epochs", "1"), "--valid"]
    (tmp_path / "blank").write_text(" \n", encoding="utf-8")
    (tmp_path / "one").write_text("A dog.\n", encoding="utf-8")
    assert main([*blank, str(tmp_path / "one"), str(tmp_path / "blank")]) == 2
    assert "empty" in capsys.readouterr().err
    (tmp_path / "halves").write_text("\nEin Hund.\n", encoding="utf-8")
    (tmp_path / "other").write_text("A dog.\n\n", encoding="utf-8")
    assert main([*blank, str(tmp_path / "halves"), str(tmp_path / "other")]) == 2
    assert "validation text has no pair" in capsys.readouterr().err


def test_the_rate_rises_and_cools_down(trained):
    steps, rates = History.read(trained).series("lr")
    assert rates[0] == pytest.approx(4e-3 * (10 / steps[0]) ** 0.5)  # 10 steps of warm-up
    assert rates[-1] < 0.1 * rates[0]


def test_mistakes_in_use_get_one_line(files, trained, capsys):
    for folder, words in [(files, "holds no translator"), (files / "no", "no such folder")]:
        assert main(["translation", "translate", "--run", str(folder)]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
    assert main(["translation", "translate", "--run", str(trained), "--beam", "0"]) == 2
    assert "--beam must be positive; got 0" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["translation"], ["translation", "train"], ["sing"]])
def test_usage(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "usage: python -m tfmlib" in capsys.readouterr().err
