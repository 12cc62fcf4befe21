"""AdamW with decay on matrices only, and the learning-rate schedules, as functions of the step.

The warm-up/inverse-square-root schedule is equation 3 of Vaswani et al. 2017; decoupled weight
decay is from Loshchilov and Hutter 2019. A schedule is a plain function: step (from 1) -> rate.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Schedule = Callable[[int], float]


def inverse_square_root(step: int, *, d_model: int, warmup: int = 4000) -> float:
    r"""Return the paper's learning rate at `step` (the first step is 1).

    $d_{\text{model}}^{-1/2}\,\min(t^{-1/2},\; t\,w^{-3/2})$ (Vaswani et al. 2017, equation 3): it
    grows linearly for the $w$ steps of the warm-up and falls with $1/\sqrt{t}$ afterwards. The
    peak stands at step $w$ and is $(d_{\text{model}}\,w)^{-1/2}$, 0.0007 for the base model.
    """
    _check_step(step)
    _check_positive(d_model=d_model, warmup=warmup)
    return float(d_model**-0.5 * min(step**-0.5, step * warmup**-1.5))


def warmup_inverse_square_root(peak: float, warmup: int) -> Schedule:
    """Return the same curve with its highest rate given: `peak`, reached at step `warmup`.

    `inverse_square_root` ties the rate to the width of the model; small models want a peak of
    their own. With `peak = (d_model * warmup) ** -0.5` the two are equal.
    """
    _check_positive(peak=peak, warmup=warmup)

    def schedule(step: int) -> float:
        _check_step(step)
        return float(peak * min((warmup / step) ** 0.5, step / warmup))

    return schedule


def linear_cooldown(schedule: Schedule, *, last_step: int, n_steps: int) -> Schedule:
    """Return `schedule` with the rate going to 0 in a straight line over the last `n_steps` steps.

    Until step `last_step - n_steps` nothing changes; from the value there the rate falls by equal
    amounts and would be 0 one step after `last_step`, so that no step is spent at a rate of 0.
    """
    if not 0 <= n_steps < last_step:
        raise ValueError(
            f"n_steps must lie between 0 and last_step - 1 = {last_step - 1}, got {n_steps}"
        )
    start = last_step - n_steps

    def cooled(step: int) -> float:
        if step <= start:
            return schedule(step)
        return schedule(start) * max(0, last_step + 1 - step) / (n_steps + 1)

    return cooled


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the trained parameters of `model` in two groups, with and without weight decay.

    Matrices (two dimensions or more: projections, embeddings) decay; biases and the parameters of
    normalization layers do not, whatever their shape. A tied parameter comes once. A group
    that would be empty is left out.
    """
    if weight_decay < 0:
        raise ValueError(f"weight_decay must not be negative, got {weight_decay}")
    kept: dict[nn.Parameter, None] = {}  # a dict, to keep the order of the model
    for module in model.modules():
        is_norm = type(module).__name__.endswith("Norm")
        for name, parameter in module.named_parameters(recurse=False):
            if is_norm or parameter.ndim < 2 or name.endswith("bias"):
                kept[parameter] = None
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p not in kept], "weight_decay": weight_decay},
        {"params": [p for p in trained if p in kept], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def adamw(
    model: nn.Module,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.98),
    eps: float = 1e-9,
    weight_decay: float = 0.0,
    fused: bool | None = None,
) -> torch.optim.AdamW:
    """Return AdamW over `parameter_groups(model, weight_decay)`.

    The defaults of `betas` and `eps` are the Transformer's (Vaswani et al. 2017, section 5.3),
    which used Adam without decay. `fused=None` takes torch's fused step, one pass over the
    parameters instead of several, where they all stand on the CPU or a CUDA device.
    """
    groups = parameter_groups(model, weight_decay)
    if not groups:
        raise ValueError(f"{type(model).__name__} has no parameters to train")
    if fused is None:
        fused = all(
            p.device.type in ("cpu", "cuda") and p.is_floating_point()
            for group in groups
            for p in group["params"]
        )
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=fused)


def _check_step(step: int) -> None:
    if step < 1:
        raise ValueError(f"steps are counted from 1, got step {step}")


def _check_positive(**values: float | int) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
