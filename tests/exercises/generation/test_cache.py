"""Each checker accepts other correct ways to write the function and rejects wrong ones."""

import torch
import torch.nn.functional as F
from answers import Answers

from tfmlib.exercises.generation import cache as exercises


def by_sdpa(q, k, v, keys, values):
    keys, values = torch.cat([keys, k[None]]), torch.cat([values, v[None]])
    return F.scaled_dot_product_attention(q[None], keys, values)[0], keys, values


def by_loop(q, k, v, keys, values):
    keys, values = [*keys, k], [*values, v]
    powers = [(q @ key / len(q) ** 0.5).exp() for key in keys]
    out = sum(p * value for p, value in zip(powers, values, strict=True)) / sum(powers)
    return out, torch.stack(keys), torch.stack(values)


def without_itself(q, k, v, keys, values):
    out, _, _ = by_sdpa(q, keys[-1], values[-1], keys[:-1], values[:-1])
    return out, torch.cat([keys, k[None]]), torch.cat([values, v[None]])


def unscaled(q, k, v, keys, values):
    return by_sdpa(q * len(q) ** 0.5, k, v, keys, values)


def at_the_front(q, k, v, keys, values):
    keys, values = torch.cat([k[None], keys]), torch.cat([v[None], values])
    return F.scaled_dot_product_attention(q[None], keys, values)[0], keys, values


def forgets(q, k, v, keys, values):
    return by_sdpa(q, k, v, keys, values)[0], keys, values


def closed(prompt, new):
    last = prompt + new - 1
    squares = last * (last + 1) * (2 * last + 1) - (prompt - 1) * prompt * (2 * prompt - 1)
    rows = new * prompt + new * (new - 1) // 2
    return rows - last, squares // 6 - prompt**2 - (rows - prompt)


def step_by_step(prompt, new):
    rows = scores = 0
    for done in range(1, new):
        length = prompt + done
        rows += length - 1
        scores += length * length - length
    return [rows, scores]


def places_by_rows(padding, past, new):
    rows = [[t - p for t in range(past, past + new)] for p in padding.tolist()]
    mask = [[t >= p for t in range(past + new)] for p in padding.tolist()]
    return torch.tensor(rows), torch.tensor(mask)


def places_by_counting(padding, past, new):
    mask = torch.arange(past + new) >= padding.unsqueeze(1)
    return (mask.cumsum(1) - 1).clamp(min=0)[:, -new:], mask


def positions_restart(padding, past, new):
    return places_by_rows(padding, 0, new)[0], places_by_rows(padding, past, new)[1]


def as_if_unpadded(padding, past, new):
    positions = torch.arange(past, past + new).expand(len(padding), new)
    return positions, places_by_rows(padding, past, new)[1]


def mask_of_the_new(padding, past, new):
    positions, mask = places_by_rows(padding, past, new)
    return positions, mask[:, past:]


def true_hides(padding, past, new):
    positions, mask = places_by_rows(padding, past, new)
    return positions, ~mask


def padded_right(padding, past, new):
    positions, mask = places_by_rows(padding, past, new)
    return positions, mask.flip(1)


def latest_in_each(seen, window):
    return [max(t for t in range(seen) if t % window == slot) for slot in range(min(seen, window))]


def slots_by_formula(seen, window):
    slots = torch.arange(min(seen, window))
    return seen - 1 - (seen - 1 - slots) % window


def no_bytes(layers, kv_heads, d_head, length, batch, bytes_each):
    return layers * kv_heads * d_head * length * batch * bytes_each


RIGHT = {
    "step": [by_sdpa, by_loop],
    "bytes": [
        lambda layers, kv_heads, d_head, length, batch, bytes_each: (
            torch.zeros(2, layers, batch, kv_heads, length, d_head, device="meta").numel()
            * bytes_each
        ),
        lambda layers, kv_heads, d_head, length, batch, bytes_each: sum(
            2 * bytes_each * kv_heads * d_head * batch * length for _ in range(layers)
        ),
    ],
    "saved": [closed, step_by_step],
    "places": [places_by_rows, places_by_counting],
    "slots": [latest_in_each, slots_by_formula],
}

WRONG = {
    "step": [without_itself, unscaled, at_the_front, forgets],
    "bytes": [
        no_bytes,
        lambda layers, kv_heads, d_head, length, batch, bytes_each: (
            2 * no_bytes(layers, kv_heads, d_head, length, batch, 1)
        ),
        lambda layers, kv_heads, d_head, length, batch, bytes_each: (
            2 * no_bytes(layers, 1, d_head, length, batch, bytes_each)
        ),
        lambda layers, kv_heads, d_head, length, batch, bytes_each: (
            2 * no_bytes(layers, kv_heads, d_head, length, 1, bytes_each)
        ),
    ],
    "saved": [
        lambda prompt, new: (closed(prompt, new + 1)[0], closed(prompt, new)[1]),
        lambda prompt, new: closed(prompt + 1, new),
        lambda prompt, new: closed(1, prompt + new - 1),
        lambda prompt, new: closed(prompt, new)[::-1],
    ],
    "places": [positions_restart, as_if_unpadded, mask_of_the_new, true_hides, padded_right],
    "slots": [
        lambda seen, window: list(range(max(0, seen - window), seen)),
        lambda seen, window: latest_in_each(seen + 1, window),
        lambda seen, window: [t % window for t in range(max(0, seen - window), seen)],
        lambda seen, window: latest_in_each(seen, window)[::-1],
    ],
}


class TestAnswers(Answers):
    exercises, right, wrong = exercises, RIGHT, WRONG
