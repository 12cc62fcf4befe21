"""Beam search against exhaustive search and against transformers' generate."""

import itertools

import pytest
import torch

from tfmlib.generation.beam import beam_search
from tfmlib.generation.cache import CachedDecoder, KeyValueCache
from tfmlib.generation.sampling import greedy
from tfmlib.transformer.transformer import Transformer, TransformerConfig


class Markov:
    """Logits from the row, the step and the last token: small enough to search in full."""

    def __init__(self, batch: int, vocab: int) -> None:
        generator = torch.Generator().manual_seed(3)
        shape = (batch, 8, vocab, vocab)
        self.table = torch.randn(shape, generator=generator, dtype=torch.float64) * 2
        self.rows = torch.arange(batch)

    def __call__(self, tokens):
        return self.table[self.rows, tokens.shape[1] - 1, tokens[:, -1]]

    def reorder(self, rows):
        self.rows = self.rows[rows]


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
    model.final_logits_bias[0, 2] = 1.0
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


@pytest.mark.parametrize("beam", [1, 4])
def test_equals_transformers(beam):
    model = marian()
    source = torch.randint(3, 19, (24, 5), generator=torch.Generator().manual_seed(0))
    theirs = model.generate(
        source,
        attention_mask=torch.ones_like(source),
        num_beams=beam,
        do_sample=False,
        max_new_tokens=12,
        length_penalty=1.0,
        early_stopping=False,
        bad_words_ids=[[0]],
        renormalize_logits=True,
        pad_token_id=0,
        eos_token_id=2,
    )
    start = torch.ones(24, 1, dtype=torch.long)
    ours = beam_search(Uncached(model, source), start, beam=beam, max_new=12, end_id=2).tokens

    def until_the_end(row):
        return row[: row.index(2) + 1] if 2 in row else row

    expected = [until_the_end(row) for row in theirs.tolist()]
    assert [until_the_end(row) for row in ours[:, 0].tolist()] == expected
    assert len({len(row) for row in expected}) > min(beam, 2)  # of several lengths


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


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="must be positive; got 0 and 5"):
        beam_search(Markov(1, 3), torch.ones(1, 1, dtype=torch.long), beam=0, max_new=5, end_id=2)
