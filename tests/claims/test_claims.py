"""The record of verdicts fits its schema, and a false or contradicting verdict fails."""

import copy

import numpy as np
import pytest
import torch

from tfmlib import claims


def test_the_committed_record_is_valid():
    entries = claims.load_verdicts()
    assert {"B1", "B2", "B32", "B33"} <= set(entries)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.pop("conclusion"), "missing .'conclusion'"),
        (lambda e: e.update(extra="x"), "unknown .'extra'"),
        (lambda e: e.update(verdict="true"), "verdict must be one of"),
        (lambda e: e.update(claim=""), "claim must be"),
        (lambda e: e.update(notes="000"), "notes must be a list"),
        (lambda e: e.update(notes=[0]), "notes must be strings"),
    ],
)
def test_schema(change, message):
    entries = copy.deepcopy(claims.load_verdicts())
    change(entries["B2"])
    with pytest.raises(ValueError, match=f"B2: .*{message}"):
        claims.check_entries(entries)


def test_claim_ids():
    with pytest.raises(ValueError, match="X1"):
        claims.check_entries({"X1": {}})


def test_true_evidence_gives_a_card():
    card = claims.verdict("B2", "corrected", a_is_so=True, b=np.bool_(True), c=torch.tensor(True))
    assert repr(card) == "B2: corrected (3 checks hold)"
    html = card._repr_html_()
    assert "Verdict: ✗ corrected." in html
    assert "<li>a is so</li>" in html


def test_text_is_escaped():
    entry = claims.load_verdicts()["B2"] | {"claim": "a < b & c"}
    assert "a &lt; b &amp; c" in claims.Verdict("B2", entry, ("x",))._repr_html_()


def test_false_evidence_fails_and_is_named():
    with pytest.raises(AssertionError, match="'second' does not hold"):
        claims.verdict("B2", "corrected", first=True, second=torch.tensor(False))


def test_other_verdict_than_recorded_fails():
    with pytest.raises(AssertionError, match="record says 'corrected'"):
        claims.verdict("B2", "confirmed", first=True)


@pytest.mark.parametrize("value", [1, 0.0, "yes", None, torch.tensor(3.0)])
def test_evidence_must_be_boolean(value):
    with pytest.raises(TypeError, match="must be a boolean"):
        claims.verdict("B2", "corrected", first=value)


def test_unknown_claim_verdict_and_no_evidence():
    with pytest.raises(ValueError, match="no record of claim 'B999'"):
        claims.verdict("B999", "confirmed", a=True)
    with pytest.raises(ValueError, match="one of"):
        claims.verdict("B2", "true", a=True)
    with pytest.raises(ValueError, match="at least one"):
        claims.verdict("B2", "corrected")
