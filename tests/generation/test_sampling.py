"""Choosing tokens: against transformers' processors, and how decoding ends."""

import math

import pytest
import torch

from tfmlib.generation.sampling import (
    Sampler,
    generate,
    greedy,
    likeliest,
    log_probabilities,
    min_p,
    repetition_penalty,
    temperature,
    top_k,
    top_p,
)

START = torch.ones(2, 1, dtype=torch.long)


def scripted(script):
    """A model that says what the script says, row by row."""

    def next_logits(tokens):
        step = tokens.shape[1] - 1
        return torch.stack([torch.eye(10)[script[row][step]] for row in range(len(tokens))])

    return next_logits


def test_stops_per_row_and_pads():
    """Row 0 says 5, 6, then the end; row 1 counts on without ever ending."""
    script = {0: [5, 6, 2, 9], 1: [4, 4, 4, 4]}
    out = greedy(scripted(script), START, max_new=4, end_id=2)
    assert out.tolist() == [[1, 5, 6, 2, 0], [1, 4, 4, 4, 4]]
    only_first = greedy(scripted(script), START[:1], max_new=4, end_id=2)
    assert only_first.tolist() == [[1, 5, 6, 2]]  # stops as soon as all rows are finished


def test_any_of_several_tokens_ends_a_row():
    script = {0: [5, 3, 8, 8, 8], 1: [4, 4, 2, 8, 8]}
    out = generate(scripted(script), START, max_new=5, end_id=[3, 2], pad_id=7)
    assert out.tolist() == [[1, 5, 3, 7], [1, 4, 4, 2]]


@pytest.mark.parametrize("check_every", [1, 2, 3, 4, 9])
def test_looking_rarely_gives_the_same(check_every):
    script = {0: [5, 2, 8, 8, 8, 8], 1: [4, 4, 2, 8, 8, 8]}
    calls = []
    model = scripted(script)

    def counted(tokens):
        calls.append(tokens.shape[1])
        return model(tokens)

    out = generate(counted, START, max_new=6, end_id=2, check_every=check_every)
    assert out.tolist() == [[1, 5, 2, 0], [1, 4, 4, 2]]
    assert len(calls) == min(6, math.ceil(3 / check_every) * check_every)


def test_padding_that_is_an_end_token_does_not_end_other_rows():
    script = {0: [2, 8, 8], 1: [4, 4, 4]}
    out = generate(scripted(script), START, max_new=3, end_id=2, pad_id=2, check_every=2)
    assert out.tolist() == [[1, 2, 2, 2], [1, 4, 4, 4]]


def test_tokens_are_streamed_as_they_come():
    seen = []
    script = {0: [5, 2, 8], 1: [4, 6, 2]}
    out = generate(
        scripted(script), START, max_new=3, end_id=2, on_token=lambda new: seen.append(new.tolist())
    )
    assert seen == [[5, 4], [2, 6], [0, 2]] == out[:, 1:].T.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"max_new": 0}, "got 0 and 1"), ({"max_new": 2, "check_every": 0}, "got 2 and 0")],
)
def test_counts_must_be_positive(options, message):
    with pytest.raises(ValueError, match=message):
        generate(scripted({0: [1], 1: [1]}), START, **options)


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match=r"at least one token; got shape \(2, 0\)"):
        generate(scripted({}), START[:, :0], max_new=1)


def processors():
    """Each of our functions beside the processor of transformers that should do the same."""
    from transformers.generation import logits_process as theirs

    return [
        (temperature(0.7), theirs.TemperatureLogitsWarper(0.7)),
        (top_k(1), theirs.TopKLogitsWarper(1)),
        (top_k(5), theirs.TopKLogitsWarper(5)),
        (top_k(500), theirs.TopKLogitsWarper(500)),
        (top_p(0.1), theirs.TopPLogitsWarper(0.1)),
        (top_p(0.8), theirs.TopPLogitsWarper(0.8)),
        (top_p(1.0), theirs.TopPLogitsWarper(1.0)),
        (min_p(0.2), theirs.MinPLogitsWarper(0.2)),
        (min_p(1.0), theirs.MinPLogitsWarper(1.0)),
        (repetition_penalty(1.3), theirs.RepetitionPenaltyLogitsProcessor(1.3)),
        (repetition_penalty(0.8), theirs.RepetitionPenaltyLogitsProcessor(0.8)),
    ]


@pytest.mark.parametrize("number", range(11))
def test_each_shape_equals_transformers(number):
    ours, theirs = processors()[number]
    generator = torch.Generator().manual_seed(number)
    logits = 3 * torch.randn(20, 50, generator=generator)
    tokens = torch.randint(50, (20, 8), generator=generator)
    before = logits.clone()
    mine, expected = ours(logits, tokens), theirs(tokens, logits.clone())
    assert torch.equal(mine.isinf(), expected.isinf())
    assert torch.allclose(mine, expected, rtol=1e-6)
    assert torch.equal(logits, before)  # the model's own logits stay


def test_cuts_always_leave_the_likeliest():
    logits = torch.tensor([[0.0, 9.0, 1.0]])
    tokens = torch.zeros(1, 1, dtype=torch.long)
    for shape in (top_k(1), top_p(1e-9), min_p(1.0)):
        assert shape(logits, tokens).isfinite().tolist() == [[False, True, False]]
    with_rest = min_p(0.0)(logits, tokens)
    assert torch.equal(with_rest, logits)


def test_drawn_tokens_have_the_probabilities_of_the_softmax():
    """A chi-squared test with 9 degrees of freedom, on a fixed seed: 33.7 is its 1e-4 quantile."""
    logits = torch.linspace(-2, 2, 10)
    draws = 40_000
    sampler = Sampler(temperature(0.9), generator=torch.Generator().manual_seed(0))
    chosen = sampler(logits.expand(draws, -1), torch.zeros(draws, 1, dtype=torch.long))
    expected = (logits / 0.9).softmax(0) * draws
    chi_squared = ((chosen.bincount(minlength=10) - expected).square() / expected).sum()
    assert chi_squared < 33.7
    wrong = logits.softmax(0) * draws  # without the temperature: the test can fail
    assert ((chosen.bincount(minlength=10) - wrong).square() / wrong).sum() > 100


def test_shapes_apply_in_their_order():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    tokens = torch.zeros(1, 1, dtype=torch.long)
    one = Sampler(temperature(4.0), top_p(0.6)).probabilities(logits, tokens)
    other = Sampler(top_p(0.6), temperature(4.0)).probabilities(logits, tokens)
    assert (one > 0).sum() == 2
    assert (other > 0).sum() == 1


def test_same_generator_same_text():
    logits = torch.randn(2, 30, generator=torch.Generator().manual_seed(3))

    def drawn(seed):
        choose = Sampler(generator=torch.Generator().manual_seed(seed))
        return generate(lambda t: logits, START, max_new=12, choose=choose)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: temperature(0.0), "must be positive; got 0.0"),
        (lambda: temperature(math.nan), "got nan"),
        (lambda: top_k(0), "at least 1; got 0"),
        (lambda: top_p(0.0), r"\(0, 1\]; got 0.0"),
        (lambda: top_p(1.5), "got 1.5"),
        (lambda: min_p(-0.1), "got -0.1"),
        (lambda: repetition_penalty(0.0), "must be positive; got 0.0"),
    ],
)
def test_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_likeliest_and_log_probabilities(close):
    logits = torch.randn(3, 7, dtype=torch.float64)
    assert torch.equal(likeliest(logits, torch.ones(3, 1, dtype=torch.long)), logits.argmax(-1))
    close(log_probabilities(logits).exp(), logits.exp() / logits.exp().sum(-1, keepdim=True))
    assert log_probabilities(logits.half()).dtype == torch.float32
