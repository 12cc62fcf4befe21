"""The verdict on each claim of the source notes, as a committed record.

A chapter measures, computes booleans from what it measured, and calls `verdict`: this fails where
the evidence is false or where the chapter and the committed record disagree.
"""

import json
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

VERDICTS = ("confirmed", "confirmed with a limit", "corrected")
_SIGNS = {"confirmed": "✓", "confirmed with a limit": "✓ …", "corrected": "✗"}
_REQUIRED = {"claim": str, "notes": list, "verdict": str, "conclusion": str, "chapter": str}
_OPTIONAL = {"open": str}


class Verdict:
    """A claim, its verdict and the evidence, as notebooks and the built pages show it."""

    def __init__(self, claim_id: str, entry: dict[str, Any], evidence: tuple[str, ...]) -> None:
        """Keep the record's entry and the names of the checks that held."""
        self.claim_id = claim_id
        self.entry = entry
        self.evidence = evidence

    def __repr__(self) -> str:
        """Return one line of text."""
        return f"{self.claim_id}: {self.entry['verdict']} ({len(self.evidence)} checks hold)"

    def _repr_html_(self) -> str:
        entry, sign = self.entry, _SIGNS[self.entry["verdict"]]
        checks = "".join(f"<li>{escape(name.replace('_', ' '))}</li>" for name in self.evidence)
        left = f"<p><em>Left open:</em> {escape(entry['open'])}</p>" if "open" in entry else ""
        card = (
            "background:#fff;color:#1A1A1A;border:1px solid #C4C4C4;border-left:6px solid #0072B2;"
            "border-radius:6px;padding:10px 14px;margin:8px 0;box-sizing:border-box"
        )
        return (
            f'<section aria-label="Verdict on claim {self.claim_id}" style="{card}">'
            f"<p><strong>Claim {self.claim_id}:</strong> {escape(entry['claim'])}</p>"
            f"<p><strong>Verdict: {sign} {escape(entry['verdict'])}.</strong> "
            f"{escape(entry['conclusion'])}</p>{left}"
            f"<p>Checked in the cell above this card:</p><ul>{checks}</ul></section>"
        )


def check_entries(entries: dict[str, Any]) -> None:
    """Check the record against its schema.

    Raises:
        ValueError: naming the claim and what is wrong with it.
    """
    for claim_id, entry in entries.items():
        if not (claim_id[:1] == "B" and claim_id[1:].isdigit()):
            raise ValueError(f"claim ids look like B1; got {claim_id!r}")
        if not isinstance(entry, dict):
            raise ValueError(f"{claim_id}: expected an object, got {entry!r}")
        unknown = set(entry) - set(_REQUIRED) - set(_OPTIONAL)
        missing = set(_REQUIRED) - set(entry)
        if unknown or missing:
            raise ValueError(f"{claim_id}: missing {sorted(missing)}, unknown {sorted(unknown)}")
        for key, kind in (_REQUIRED | _OPTIONAL).items():
            if key in entry and (not isinstance(entry[key], kind) or not entry[key]):
                raise ValueError(f"{claim_id}: {key} must be a {kind.__name__} and not empty")
        if entry["verdict"] not in VERDICTS:
            raise ValueError(
                f"{claim_id}: verdict must be one of {VERDICTS}, got {entry['verdict']!r}"
            )
        if not all(isinstance(note, str) for note in entry["notes"]):
            raise ValueError(f"{claim_id}: notes must be strings, got {entry['notes']!r}")


@cache
def load_verdicts() -> dict[str, dict[str, Any]]:
    """Return the committed record, claim id -> entry, checked against its schema.

    Raises:
        ValueError: if an entry does not fit the schema.
    """
    entries = json.loads(files(__name__).joinpath("verdicts.json").read_text(encoding="utf-8"))
    check_entries(entries)
    return entries


def verdict(claim_id: str, stated: str, /, **evidence: Any) -> Verdict:
    """Hold a chapter's verdict and its evidence against the committed record.

    Args:
        claim_id: such as "B2".
        stated: the verdict that the chapter gives, one of `VERDICTS`.
        evidence: name=boolean, computed in the notebook; NumPy and 0-d tensor booleans will do.

    Returns:
        A card for display.

    Raises:
        ValueError: if the claim or the verdict is unknown, or no evidence is given.
        TypeError: if a piece of evidence is not a boolean.
        AssertionError: if the record says otherwise, or a piece of evidence is false.
    """
    entries = load_verdicts()
    if claim_id not in entries:
        raise ValueError(f"no record of claim {claim_id!r}; there are {', '.join(entries)}")
    if stated not in VERDICTS:
        raise ValueError(f"verdict must be one of {VERDICTS}, got {stated!r}")
    if not evidence:
        raise ValueError(f"claim {claim_id}: a verdict needs at least one piece of evidence")
    recorded = entries[claim_id]["verdict"]
    if stated != recorded:
        raise AssertionError(f"claim {claim_id}: stated {stated!r}, the record says {recorded!r}")
    for name, value in evidence.items():
        value = value.item() if hasattr(value, "item") else value
        if not isinstance(value, bool):
            raise TypeError(f"claim {claim_id}: evidence {name!r} must be a boolean, got {value!r}")
        if not value:
            raise AssertionError(f"claim {claim_id}: the evidence {name!r} does not hold")
    return Verdict(claim_id, entries[claim_id], tuple(evidence))
