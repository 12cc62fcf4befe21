"""Beam search against exhaustive search, a slow one in plain Python and transformers' generate."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmlib.generation.beam import beam_search
from tfmlib.generation.cache import CachedDecoder, KeyValueCache
from tfmlib.generation.sampling import greedy
from tfmlib.transformer.transformer import Transformer, TransformerConfig


class Markov:
    """Logits from the row, the step and the last token: small enough to search in full."""

    def __init__(self, batch: int, vocab: int, seed: int = 3) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, 8, vocab, vocab)
        self.table = torch.randn(shape, generator=generator, dtype=torch.float64) * 2
        self.rows = torch.arange(batch)

    def __call__(self, tokens):
        return self.table[self.rows, tokens.shape[1] - 1, tokens[:, -1]]

    def reorder(self, rows):
        self.rows = self.rows[rows]


class Plain:
    """Beam search for one row in plain Python, as the docstring of `beam_search` tells it."""

    def __init__(self, table, *, beam, max_new, end_id, exponent, early_stopping):
        self.log = table.log_softmax(-1)
        self.beam, self.max_new, self.end_id = beam, max_new, end_id
        self.exponent, self.early_stopping = exponent, early_stopping

    def extensions(self, beginning):
        tokens, score = beginning
        after = self.log[len(tokens), tokens[-1] if tokens else 1].tolist()
        return [((*tokens, token), score + p) for token, p in enumerate(after)]

    def is_done(self, finished, still_open, new):
        if not still_open:
            return True
        if len(finished) < self.beam:
            return False
        if self.early_stopping is True:
            return True
        hoped_for = max(score for _, score in still_open)
        # Of the lengths that it can still have, the one that gives it the best score.
        lengths = range(new, self.max_new + 1) if self.early_stopping == "never" else [new]
        return finished[-1][1] >= max(hoped_for / n**self.exponent for n in lengths)

    def search(self):
        finished, still_open = [], [((), 0.0)]
        for new in range(1, self.max_new + 1):
            grown = [longer for beginning in still_open for longer in self.extensions(beginning)]
            grown = [item for item in grown if item[1] > -math.inf]
            grown = sorted(grown, key=lambda item: -item[1])[: 2 * self.beam]
            for tokens, score in grown[: self.beam]:
                if tokens[-1] == self.end_id or new == self.max_new:
                    finished.append((tokens, score / new**self.exponent))
            finished = sorted(finished, key=lambda item: -item[1])[: self.beam]
            still_open = [item for item in grown if item[0][-1] != self.end_id][: self.beam]
            if self.is_done(finished, still_open, new):
                break
        return finished


def exhaustive(table, max_new, end_id, exponent):
    """All sequences that end, or have full length, with their scores, best first."""
    log = table.log_softmax(-1)
    found = {}
    for length in range(1, max_new + 1):
        for tokens in itertools.product(range(table.shape[-1]), repeat=length):
            if end_id in tokens[:-1] or (length < max_new and tokens[-1] != end_id):
                continue
            path = (1, *tokens)
            steps = enumerate(itertools.pairwise(path))
            score = sum(log[step, a, b].item() for step, (a, b) in steps)
            found[tokens] = score / length**exponent
    return sorted(found.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.4])
def test_a_wide_beam_is_exhaustive(exponent):
    model = Markov(3, 4)
    start = torch.ones(3, 1, dtype=torch.long)
    # A beam of 4^4 holds everything there is; finishing early must then lose nothing either.
    found = beam_search(model, start, beam=256, max_new=4, end_id=2, length_exponent=exponent)
    for row in range(3):
        best = exhaustive(Markov(3, 4).table[row], 4, 2, exponent)
        for i in range(10):
            tokens, score = best[i]
            padded = [1, *tokens] + [0] * (4 - len(tokens))
            assert found.tokens[row, i].tolist() == padded
            assert found.scores[row, i].item() == pytest.approx(score, rel=1e-6)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 4),
    vocab=st.integers(2, 7),
    beam=st.integers(1, 9),
    max_new=st.integers(1, 7),
    exponent=st.sampled_from([-0.5, 0.0, 0.6, 1.0, 2.0]),
    early_stopping=st.sampled_from([True, False, "never"]),
    impossible=st.sampled_from([0.0, 0.4]),
)
def test_equals_the_plain_search(
    seed, batch, vocab, beam, max_new, exponent, early_stopping, impossible
):
    model = Markov(batch, vocab, seed)
    if impossible:  # tokens of probability 0, the end token or all but one among them
        generator = torch.Generator().manual_seed(seed)
        model.table[torch.rand(model.table.shape, generator=generator) < impossible] = -torch.inf
        model.table[..., seed % vocab] = 0.0
    start, how = torch.ones(batch, 1, dtype=torch.long), {"early_stopping": early_stopping}
    how |= {"beam": beam, "max_new": max_new, "end_id": 0}
    table = model.table.clone()
    found = beam_search(model, start, pad_id=99, length_exponent=exponent, **how)
    for row in range(batch):
        expected = Plain(table[row], exponent=exponent, **how).search()
        for i in range(beam):
            tokens, score = expected[i] if i < len(expected) else ((), -math.inf)
            padded = [*([1] if tokens else [99]), *tokens] + [99] * (max_new - len(tokens))
            assert found.scores[row, i].item() == pytest.approx(score, rel=1e-5)
            assert found.tokens[row, i].tolist() == padded


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.6, 1.0, 2.5])
def test_never_loses_nothing(exponent):
    vocab = 3 if exponent < 0 else 6  # where the right bound makes a difference
    start, how = torch.ones(40, 1, dtype=torch.long), {"beam": 3, "max_new": 7, "end_id": 2}
    how |= {"length_exponent": exponent}
    never = beam_search(Markov(40, vocab), start, early_stopping="never", **how)
    for row in range(40):
        plain = Plain(
            Markov(40, vocab).table[row],
            beam=3,
            max_new=7,
            end_id=2,
            exponent=exponent,
            early_stopping=True,
        )
        plain.is_done = lambda finished, still_open, new: False
        scores = [score for _, score in plain.search()]
        assert never.scores[row].tolist() == pytest.approx(scores, rel=1e-5)
    # And the earlier a search stops, the less it finds.
    present = beam_search(Markov(40, vocab), start, early_stopping=False, **how)
    at_once = beam_search(Markov(40, vocab), start, early_stopping=True, **how)
    assert (never.scores >= present.scores).all()
    assert (present.scores >= at_once.scores).all()
    assert (never.scores > at_once.scores).any()
    assert (never.scores > present.scores).any() == (exponent > 0)


def test_what_stays_in_place_is_not_reordered():
    class Counting(Markov):
        moves = ()

        def reorder(self, rows):
            super().reorder(rows)
            self.moves = (*self.moves, rows.tolist())

    model = Counting(1, 6)
    beam_search(model, torch.ones(1, 1, dtype=torch.long), beam=4, max_new=7, end_id=6)
    assert model.moves[0] == [0] * 4
    for rows in model.moves[1:]:
        assert rows != list(range(4))
        # A beam that lives on stays where it is, in its first child.
        assert all(rows[parent] == parent for parent in rows)
    assert len(model.moves) < 6


def test_a_beam_of_one_is_greedy():
    start = torch.ones(5, 1, dtype=torch.long)
    found = beam_search(Markov(5, 6), start, beam=1, max_new=6, end_id=2, length_exponent=0.0)
    expected = greedy(Markov(5, 6), start, max_new=6, end_id=2)
    width = expected.shape[1]
    assert torch.equal(found.tokens[:, 0, :width], expected)
    assert (found.tokens[:, 0, width:] == 0).all()


def test_rows_do_not_influence_each_other():
    start = torch.ones(6, 1, dtype=torch.long)
    together = beam_search(Markov(6, 8), start, beam=3, max_new=7, end_id=2)
    for row in range(6):
        alone = Markov(6, 8)
        alone.rows = torch.tensor([row])
        single = beam_search(alone, start[:1], beam=3, max_new=7, end_id=2)
        assert torch.equal(single.tokens[0], together.tokens[row])
        assert torch.allclose(single.scores[0], together.scores[row])


def marian():
    from transformers import MarianConfig, MarianMTModel

    torch.manual_seed(0)
    model = MarianMTModel(
        MarianConfig(
            vocab_size=19,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            max_position_embeddings=32,
            init_std=1.0,
            pad_token_id=0,
            decoder_start_token_id=1,
            eos_token_id=2,
            forced_eos_token_id=None,
        )
    ).eval()
    torch.manual_seed(2)
    for name, weight in model.model.decoder.named_parameters():
        if weight.dim() == 2 and "embed" not in name:
            weight.data.normal_(0, 3.0)  # else the tied output repeats one token for ever
    model.final_logits_bias[0, 2] = 4.0
    return model


class Uncached:
    """Drive transformers' own model, so that only the search differs."""

    def __init__(self, model, source) -> None:
        self.model, self.source = model, source

    def __call__(self, tokens):
        out = self.model(input_ids=self.source, decoder_input_ids=tokens, use_cache=False)
        logits = out.logits[:, -1].clone()
        logits[:, 0] = -torch.inf  # Marian's generation settings forbid the padding token
        return logits

    def reorder(self, rows):
        self.source = self.source[rows]


@pytest.mark.parametrize(
    ("beam", "exponent", "early_stopping"),
    [
        (1, 1.0, False),
        (4, -1.0, "never"),
        (4, 0.0, False),
        (4, 1.0, False),
        (4, 1.5, True),
        (4, 1.5, False),
        (4, 1.5, "never"),
    ],
)
def test_equals_transformers(beam, exponent, early_stopping):
    model = marian()
    source = torch.randint(3, 19, (24, 5), generator=torch.Generator().manual_seed(0))
    theirs = model.generate(
        source,
        attention_mask=torch.ones_like(source),
        num_beams=beam,
        do_sample=False,
        max_new_tokens=12,
        length_penalty=exponent,
        early_stopping=early_stopping,
        bad_words_ids=[[0]],
        renormalize_logits=True,
        pad_token_id=0,
        eos_token_id=2,
    )
    start = torch.ones(24, 1, dtype=torch.long)
    ours = beam_search(
        Uncached(model, source),
        start,
        beam=beam,
        max_new=12,
        end_id=2,
        length_exponent=exponent,
        early_stopping=early_stopping,
    ).tokens

    expected = [until_the_end(row) for row in theirs.tolist()]
    assert [until_the_end(row) for row in ours[:, 0].tolist()] == expected
    assert len({len(row) for row in expected}) > (2 if exponent == 1.0 else 0)


def until_the_end(row):
    return row[: row.index(2) + 1] if 2 in row else row


def test_the_cases_above_tell_ways_of_stopping_apart():
    model = marian()
    source = torch.randint(3, 19, (24, 5), generator=torch.Generator().manual_seed(0))
    start, how = torch.ones(24, 1, dtype=torch.long), {"beam": 4, "max_new": 12, "end_id": 2}
    how |= {"length_exponent": 1.5}
    found = []
    for early_stopping in (True, False, "never"):
        rows = beam_search(Uncached(model, source), start, early_stopping=early_stopping, **how)
        found.append([until_the_end(row) for row in rows.tokens[:, 0].tolist()])
        assert len({len(row) for row in found[-1]}) > 1
    for a, b in itertools.combinations(found, 2):
        assert sum(x != y for x, y in zip(a, b, strict=True)) > 3


def test_with_cache_equals_without():
    torch.manual_seed(1)
    model = Transformer(
        TransformerConfig(
            vocab_size=11, d_model=16, n_heads=2, d_ff=16, n_encoder_layers=1, n_decoder_layers=1
        )
    ).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    source = torch.randint(3, 11, (6, 5))
    memory, start = model.encode(source), torch.ones(6, 1, dtype=torch.long)

    class Slow:
        memory_rows = memory

        def __call__(self, tokens):
            return model.decode(tokens, self.memory_rows)[:, -1]

        def reorder(self, rows):
            self.memory_rows = self.memory_rows[rows]

    fast = CachedDecoder(model.decode, KeyValueCache(1, 12), memory=memory)
    how = {"beam": 3, "max_new": 10, "end_id": 2}
    a, b = beam_search(fast, start, **how), beam_search(Slow(), start, **how)
    assert torch.equal(a.tokens, b.tokens)


def test_bad_input_is_named(own_errors):
    with pytest.raises(ValueError, match="must be positive; got 0 and 5"):
        beam_search(Markov(1, 3), torch.ones(1, 1, dtype=torch.long), beam=0, max_new=5, end_id=2)
    with pytest.raises(ValueError, match="must be True, False or \"never\"; got 'always'"):
        beam_search(
            Markov(1, 3),
            torch.ones(1, 1, dtype=torch.long),
            beam=2,
            max_new=5,
            end_id=2,
            early_stopping="always",
        )
