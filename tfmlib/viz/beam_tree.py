"""The tree of a beam search, growing step by step under a slider."""

import math
from collections.abc import Sequence

from tfmlib.viz.diagram import Drawing
from tfmlib.viz.frames.drawings import drawings
from tfmlib.viz.frames.player import Frames

Words = tuple[str, ...]
Row = dict[Words, tuple[float, str]]  # words so far -> (log probability, state)

WIDTH, ROW = 420, 47
HUES = {"open": "blue", "finished": "green", "dropped": "grey"}


def beam_tree(
    history: Sequence[Sequence[tuple[Words, float]]],
    *,
    beam: int,
    end: str,
    caption: str,
    alt: str,
    least: float = 0.01,
) -> Frames:
    """Draw what a beam search looked at, one row for each step.

    Extensions that stay open are blue, finished ones green, dropped ones grey. Lines to what has no
    open or finished descendant are thin; in the last frame the best finished one is marked.

    Args:
        history: of each step, the extensions that were looked at as (words so far, sum of log
            probabilities), best first: 2 `beam` of them or fewer.
        beam: width of the beam.
        end: the word that ends a hypothesis.
        caption: sentence under the figure.
        alt: description for readers who do not see the figure.
        least: dropped extensions of a smaller probability are left out.

    Raises:
        ValueError: there are fewer than two steps, or an extension has no parent.
    """
    rows = _rows(history, beam, end, math.log(least))
    finished = [item for row in rows for item in row.items() if item[1][1] == "finished"]
    best = max(finished, key=lambda item: item[1][0])[0] if finished else ()
    height = 30 + ROW * len(rows)
    steps = range(1, len(rows) + 1)
    contents = [_drawn(rows[:i], best if i == len(rows) else (), height) for i in steps]
    kept = [[words for words, (_, state) in row.items() if state != "dropped"] for row in rows]
    ended = [[words[-1] for words in words_of].count(end) for words_of in kept]
    notes = [f"{len(k) - n} open, {n} finished" for k, n in zip(kept, ended, strict=True)]
    return drawings(
        contents,
        (WIDTH, height),
        slider="step",
        positions=steps,
        notes=notes,
        start=len(rows) - 1,
        caption=caption,
        alt=alt,
    )


def _rows(
    history: Sequence[Sequence[tuple[Words, float]]], beam: int, end: str, least: float
) -> list[Row]:
    """What is drawn in each row; children stand in the order of their parents: no line crosses."""
    rows: list[Row] = []
    order: dict[Words, int] = {(): 0}
    for step in history:
        row: Row = {}
        room = beam
        for i, (words, score) in enumerate(step):
            if words[:-1] not in order:
                raise ValueError(f"{words} extends nothing that stayed open")
            is_end = words[-1] == end
            kept = i < beam if is_end else room > 0
            room -= not is_end
            if kept or score >= least:
                row[words] = (score, ("finished" if is_end else "open") if kept else "dropped")
        rows.append(dict(sorted(row.items(), key=lambda item: order[item[0][:-1]])))
        kept_words = (words for words, (_, state) in rows[-1].items() if state == "open")
        order = {words: i for i, words in enumerate(kept_words)}
    return rows


def _drawn(rows: Sequence[Row], best: Words, height: int) -> str:
    """The shapes of one frame."""
    leaves = [w for w, (_, state) in rows[-1].items() if state == "open"]
    leaves += [w for row in rows for w, (_, state) in row.items() if state == "finished"]
    alive = {words[:i] for words in leaves for i in range(1, len(words) + 1)}
    drawing = Drawing(WIDTH, height)
    place: dict[Words, tuple[float, float]] = {(): (WIDTH / 2, 10)}
    for depth, row in enumerate(rows, 1):
        for i, (words, (score, state)) in enumerate(row.items()):
            x, y = round(WIDTH * (i + 0.5) / len(row), 1), 12 + ROW * depth
            x0, y0 = place[words[:-1]]
            on_best = best[: len(words)] == words
            drawing.line(
                [(x0, y0 + 3), (x, y - 23)],
                arrow=False,
                colour="vermilion" if on_best else HUES[state],
                width=3 if on_best else 1.8 if words in alive else 0.6,
            )
            hue, bold = HUES[state], state != "dropped"
            drawing.text(x, y - 11, words[-1], size=12.5, colour=hue, bold=bold)
            drawing.text(x, y, f"{math.exp(score):.2f}", size=11, colour=hue)
            place[words] = (x, y)
    return "".join(drawing.elements)
