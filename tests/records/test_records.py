"""Records carry what is needed to repeat them, and nothing that names a machine."""

import json
import platform

import pytest
import torch

from tfmlib import records


def save(path, **changes):
    given = {
        "settings": {"steps": 3},
        "numbers": {"loss": [1.5, 1.25]},
        "command": "python -m benchmarks.one --steps 3",
        "seeds": [0, 1],
    }
    return records.save(path, **(given | changes))


def test_round_trip(tmp_path, monkeypatch):
    path = tmp_path / "one.json"
    record = save(path, note="ends early")
    monkeypatch.setattr(records, "_FOLDER", tmp_path)
    assert records.load("one") == record == json.loads(path.read_text(encoding="utf-8"))
    assert record["versions"]["torch"] == torch.__version__
    assert record["hardware"]["threads"] == torch.get_num_threads()
    assert record["note"] == "ends early"
    assert platform.node() not in path.read_text(encoding="utf-8")


def test_missing_record_lists_those_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_FOLDER", tmp_path)
    with pytest.raises(ValueError, match="there are: none"):
        records.load("two")
    save(tmp_path / "one.json")
    with pytest.raises(ValueError, match="there are: one"):
        records.load("two")


def test_names_cannot_leave_the_folder():
    with pytest.raises(ValueError, match="no record"):
        records.load("../claims/verdicts")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {}}, "settings"),
        ({"numbers": {}}, "numbers"),
        ({"command": ""}, "command"),
        ({"seeds": []}, "seeds"),
        ({"numbers": {"loss": float("nan")}}, "finite"),
        ({"command": "python /somewhere/run.py"}, "repository's root"),
        ({"command": "python run.py --out=/somewhere"}, "repository's root"),
    ],
)
def test_bad_records(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        save(tmp_path / "one.json", **changes)
    assert not (tmp_path / "one.json").exists()
