"""Checkers for the exercises, and the machinery they share.

A checker holds a reference and a list of cases, and prints exactly one line:

    check_row = Checker("attention_row", reference, [Case(q, K, V), Case(q2, K2, V2)])
    check_row(my_function)                   # never raises
    check_row(my_function, must_pass=True)   # for the solutions: raises unless it passes
"""

import copy
import dis
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Case:
    """One call: positional and keyword arguments. Checkers work on copies of them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Keep the arguments."""
        self.args = args
        self.kwargs = kwargs

    def copy(self) -> "Case":
        """Return a case with arguments of its own, for a candidate may write into them."""
        return Case(*copy.deepcopy(self.args), **copy.deepcopy(self.kwargs))

    def describe(self, signature_of: Callable[..., Any]) -> str:
        """Return the call as text, with the names of the parameters: `q=[1, 0], scale=0.5`."""
        try:
            bound = inspect.signature(signature_of).bind(*self.args, **self.kwargs).arguments
        except (TypeError, ValueError):
            bound = {f"argument {i}": a for i, a in enumerate(self.args, 1)} | self.kwargs
        return ", ".join(f"{name}={show(value)}" for name, value in bound.items())


class Named:
    """A function that a counterexample can show: by a short text, not by its place in memory."""

    def __init__(self, text: str, function: Callable[..., Any]) -> None:
        """Keep both."""
        self.text = text
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        """Return the text."""
        return self.text


class Checker:
    """Compare a reader's function with a reference, case by case.

    With `must_pass=True` a call raises `AssertionError` with the line instead of printing it.

    Args:
        name: what the reader is to write, as it stands in the line that is printed.
        reference: a correct function; its parameter names describe the counterexample.
        cases: deterministic inputs, the smallest first: the first that fails is shown.
        rtol: tolerance relative to the largest expected value.
        atol: absolute tolerance.
        judge: instead of comparing with the reference's result,
            `judge(got, *args, **kwargs)` returns what is wrong, or "" if nothing is.
        adapt: turns the candidate into a function of a case's arguments, where the two differ:
            the candidate takes an iterator, say, or its gradient is checked as well.

    Raises:
        ValueError: if there are no cases.
    """

    def __init__(
        self,
        name: str,
        reference: Callable[..., Any],
        cases: Sequence[Case],
        *,
        rtol: float = 1e-5,
        atol: float = 1e-6,
        judge: Callable[..., str] | None = None,
        adapt: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    ) -> None:
        """Keep reference and cases."""
        if not cases:
            raise ValueError("a checker needs at least one case")
        self.name = name
        self.reference = reference
        self.cases = tuple(cases)
        self.rtol = rtol
        self.atol = atol
        self.judge = judge
        self.adapt = adapt

    def __call__(self, candidate: Any, must_pass: bool = False) -> None:
        """Print one line about `candidate`; with `must_pass` raise unless it passes."""
        passed, line = self.run(candidate)
        if must_pass and not passed:
            raise AssertionError(line)
        print(line)

    def run(self, candidate: Any) -> tuple[bool, str]:
        """Return whether `candidate` passes, and the line to print."""
        if candidate is ... or candidate is None or _is_skeleton(candidate):
            return False, f"{self.name}: not started"
        if not callable(candidate):
            return False, f"{self.name}: expected a function, got {show(candidate)}"
        adapted = self.adapt(candidate) if self.adapt else candidate
        for case in self.cases:
            problem = self._problem(adapted, case)
            if problem:
                # A line break in an argument or in the reader's message must not break the line.
                line = f"{self.name}: for {case.describe(self.reference)}: {problem}"
                return False, " ".join(line.split())
        count = len(self.cases)
        return True, f"{self.name}: passed, {count} case{'s' if count > 1 else ''}"

    def _problem(self, candidate: Callable[..., Any], case: Case) -> str:
        mine, theirs = case.copy(), case.copy()
        try:
            got = candidate(*theirs.args, **theirs.kwargs)
            if got is None or got is ...:
                return f"got {got!r} (is a return missing?)"
            if self.judge is not None:
                return self.judge(got, *mine.args, **mine.kwargs)
        except Exception as error:
            return f"raised {type(error).__name__}: {error}"
        expected = self.reference(*mine.args, **mine.kwargs)
        return difference(expected, got, rtol=self.rtol, atol=self.atol)


def difference(expected: Any, got: Any, *, rtol: float = 1e-5, atol: float = 1e-6) -> str:
    """Return how `got` differs from `expected`, or "" if it does not.

    Tensors, arrays, numbers and lists of numbers compare by shape, kind (bool or number) and value;
    a tuple compares item by item; everything else compares with `==`.
    """
    if isinstance(expected, tuple):
        if not isinstance(got, tuple | list) or len(got) != len(expected):
            return f"expected {len(expected)} results, got {show(got)}"
        for number, (e, g) in enumerate(zip(expected, got, strict=True), 1):
            found = difference(e, g, rtol=rtol, atol=atol)
            if found:
                return f"result {number}: {found}"
        return ""
    want, have = _tensor(expected), _tensor(got)
    if want is None:
        same = type(got) is type(expected) and bool(got == expected)
        return "" if same else f"expected {show(expected)}, got {show(got)}"
    if have is None:
        return f"expected {show(expected)}, got {show(got)}"
    if want.shape != have.shape:
        return f"expected shape {tuple(want.shape)}, got shape {tuple(have.shape)}"
    if (want.dtype == torch.bool) != (have.dtype == torch.bool):
        return f"expected {want.dtype}, got {have.dtype}"
    want, have = want.double(), have.double()
    largest = want[want.isfinite()].abs().max().item() if want.isfinite().any() else 0.0
    if torch.allclose(have, want, rtol=0.0, atol=atol + rtol * largest, equal_nan=True):
        return ""
    if want.numel() <= 9:
        return f"expected {show(expected)}, got {show(got)}"
    wrong = ~torch.isclose(have, want, rtol=0.0, atol=atol + rtol * largest, equal_nan=True)
    place = tuple(wrong.nonzero()[0].tolist())
    return (
        f"{int(wrong.sum())} of {wrong.numel()} values differ; at {list(place)} expected "
        f"{show(want[place])}, got {show(have[place])}"
    )


def show(value: Any) -> str:
    """Return a short text of an argument or a result: numbers if there are few, else the shape."""
    as_tensor = _tensor(value) if not isinstance(value, str | bool | int) else None
    if as_tensor is None:
        text = repr(value)
        return text if len(text) <= 60 else text[:57] + "..."
    if as_tensor.numel() > 9:
        return f"tensor of shape {tuple(as_tensor.shape)}"
    if as_tensor.dtype == torch.bool:
        return str(as_tensor.tolist())
    return _numbers(as_tensor.double().tolist())


def _numbers(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_numbers(v) for v in value) + "]"
    return f"{value + 0.0:.4g}"


def _tensor(value: Any) -> Tensor | None:
    """Return `value` as a tensor without gradients, or None if it is not made of numbers."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, bool | int | float | np.generic | np.ndarray | list):
        if isinstance(value, list) and any(isinstance(v, Tensor) for v in value):
            value = [v.tolist() if isinstance(v, Tensor) else v for v in value]
        try:
            return torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            return None
    return None


def _is_skeleton(candidate: Any) -> bool:
    """Return whether a function's body is only `...`, `pass` or a docstring."""
    if getattr(candidate, "__code__", None) is None:
        return False
    steps = [i for i in dis.get_instructions(candidate) if i.opname not in ("RESUME", "NOP")]
    if not all(i.opname in ("LOAD_CONST", "RETURN_VALUE", "RETURN_CONST") for i in steps):
        return False
    return all(i.argval is None or i.argval is ... for i in steps)
