"""Speculative decoding writes what the large model would have written alone, in fewer passes."""

import pytest
import torch

from tfmlib.generation.cache import CachedDecoder, KeyValueCache
from tfmlib.generation.sampling import greedy
from tfmlib.generation.speculative import LookupDraft, ModelDraft, speculate
from tfmlib.transformer.decoder import LanguageModel, LanguageModelConfig

VOCAB = 13


def model(seed, layers=2, positions="rotary"):
    torch.manual_seed(seed)
    made = LanguageModel(
        LanguageModelConfig(
            vocab_size=VOCAB,
            max_length=80,
            d_model=16,
            n_heads=4,
            n_kv_heads=2,
            n_layers=layers,
            positions=positions,
        )
    )
    for parameter in made.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return made.double().eval()


def alone(large, prompt, max_new, end_id=None):
    return greedy(
        CachedDecoder(large, KeyValueCache(2, 80)), prompt, max_new=max_new, end_id=end_id
    )


def alone_small(small, prompt, max_new):
    out = greedy(CachedDecoder(small, KeyValueCache(1, 80)), prompt, max_new=max_new)
    return out[:, prompt.shape[1] :]


def run(large, small, prompt, **options):
    layers = len(small.decoder.layers)
    draft = ModelDraft(small, KeyValueCache(layers, 80))
    return speculate(large, KeyValueCache(2, 80), draft, prompt, **options)


def nudged(large, size):
    """A draft model that agrees with the large one often, but not always."""
    small = model(0)
    small.load_state_dict(large.state_dict())
    torch.manual_seed(1)
    for parameter in small.parameters():
        parameter.data += size * torch.randn_like(parameter)
    return small


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("positions", ["rotary", "learned", "alibi"])
def test_same_tokens_as_the_large_model_alone(count, positions):
    large = model(2, positions=positions)
    prompt = torch.randint(VOCAB, (1, 3), generator=torch.Generator().manual_seed(0))
    found = run(large, model(7, layers=1, positions=positions), prompt, max_new=30, count=count)
    assert torch.equal(found.tokens, alone(large, prompt, 30))
    assert found.passes + found.accepted == 30


@pytest.mark.parametrize("count", [1, 2, 5])
def test_drafts_may_be_right_and_wrong_in_turns(count):
    large = model(2)
    small, partly = nudged(large, 0.1), 0
    for seed in range(3):
        prompt = torch.randint(VOCAB, (1, 3), generator=torch.Generator().manual_seed(seed))
        found = run(large, small, prompt, max_new=30, count=count)
        assert torch.equal(found.tokens, alone(large, prompt, 30))
        assert found.passes + found.accepted == 30
        partly += 0 < found.accepted < found.drafted
    assert partly  # else the way back from a refused draft was not tested


def test_a_draft_that_is_always_right_saves_most_passes():
    large = model(3)
    prompt = torch.tensor([[1, 2]])
    found = run(large, large, prompt, max_new=40, count=4)
    assert torch.equal(found.tokens, alone(large, prompt, 40))
    assert found.passes == 8  # 40 tokens in runs of 4 drafted and 1 of its own
    assert found.accepted == found.drafted == 32


def test_it_stops_at_an_end_token_inside_a_run():
    large = model(4)
    prompt = torch.tensor([[5, 6]])
    free = alone(large, prompt, 30)[0, 2:].tolist()
    for end in sorted(set(free)):
        found = run(large, large, prompt, max_new=30, count=4, end_id=[end, 99])
        assert torch.equal(found.tokens, alone(large, prompt, 30, end_id=end))


def test_what_it_refuses():
    large, prompt = model(5), torch.tensor([[1]])
    with pytest.raises(ValueError, match="got 0 and 4"):
        run(large, large, prompt, max_new=0)
    with pytest.raises(ValueError, match="got 3 and 0"):
        run(large, large, prompt, max_new=3, count=0)
    cache = KeyValueCache(2, 80)
    large(prompt, cache=cache)
    with pytest.raises(ValueError, match="must be empty"):
        speculate(large, cache, LookupDraft(), prompt, max_new=3)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        LookupDraft(0)


@pytest.mark.parametrize("match", [1, 2, 3])
def test_lookup_changes_nothing_but_the_passes(match):
    large = model(2)
    prompt = torch.randint(VOCAB, (1, 20), generator=torch.Generator().manual_seed(0))
    found = speculate(large, KeyValueCache(2, 80), LookupDraft(match), prompt, max_new=50)
    assert torch.equal(found.tokens, alone(large, prompt, 50))
    assert found.passes + found.accepted == 50
    assert found.drafted > 0


def test_lookup_proposes_what_followed_last_time():
    row = torch.tensor([[1, 2, 3, 4, 1, 2, 5, 6, 1, 2]])
    assert LookupDraft(2)(row, 3).tolist() == [[5, 6, 1]]
    assert LookupDraft(1)(row, 9).tolist() == [[5, 6, 1, 2]]
    assert LookupDraft(3)(row, 3).shape == (1, 0)
    assert LookupDraft(2)(row[:, :2], 3).shape == (1, 0)
    assert LookupDraft(1)(torch.tensor([[7, 7]]), 3).tolist() == [[7]]  # may overlap with the end


def test_a_model_forgets_what_was_refused():
    small = model(7, layers=1)
    text = torch.randint(VOCAB, (1, 12), generator=torch.Generator().manual_seed(0))
    draft = ModelDraft(small, KeyValueCache(1, 80))
    draft(text[:, :4], 5)  # all wrong: the text goes on otherwise
    fresh = ModelDraft(small, KeyValueCache(1, 80))
    assert torch.equal(draft(text[:, :6], 3), fresh(text[:, :6], 3))
    assert torch.equal(draft(text, 4), alone_small(small, text, 4))


@pytest.mark.usefixtures("own_errors")
def test_several_sequences_are_refused():
    large = model(5)
    with pytest.raises(ValueError, match=r"one prompt.*\(2, 1\)"):
        run(large, large, torch.ones(2, 1, dtype=torch.long), max_new=3)
