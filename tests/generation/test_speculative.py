"""Speculative decoding writes what the large model would have written alone, in fewer passes."""

import pytest
import torch

from tfmlib.generation.cache import CachedDecoder, KeyValueCache
from tfmlib.generation.sampling import greedy
from tfmlib.generation.speculative import speculate
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


def run(large, small, prompt, **options):
    layers = len(small.decoder.layers)
    return speculate(
        large, KeyValueCache(2, 80), small, KeyValueCache(layers, 80), prompt, **options
    )


def nudged(large, size):
    """A draft model that agrees with the large one often, but not always."""
    small = model(0)
    small.load_state_dict(large.state_dict())
    torch.manual_seed(1)
    for parameter in small.parameters():
        parameter.data += size * torch.randn_like(parameter)
    return small


@pytest.mark.parametrize("draft", [1, 2, 5])
@pytest.mark.parametrize("positions", ["rotary", "learned", "alibi"])
def test_same_tokens_as_the_large_model_alone(draft, positions):
    large = model(2, positions=positions)
    prompt = torch.randint(VOCAB, (1, 3), generator=torch.Generator().manual_seed(0))
    found = run(large, model(7, layers=1, positions=positions), prompt, max_new=30, draft=draft)
    assert torch.equal(found.tokens, alone(large, prompt, 30))
    assert found.passes + found.accepted == 30


@pytest.mark.parametrize("draft", [1, 2, 5])
def test_drafts_may_be_right_and_wrong_in_turns(draft):
    large = model(2)
    small, partly = nudged(large, 0.1), 0
    for seed in range(3):
        prompt = torch.randint(VOCAB, (1, 3), generator=torch.Generator().manual_seed(seed))
        found = run(large, small, prompt, max_new=30, draft=draft)
        assert torch.equal(found.tokens, alone(large, prompt, 30))
        assert found.passes + found.accepted == 30
        partly += 0 < found.accepted < found.drafted
    assert partly  # else the way back from a refused draft was not tested


def test_a_draft_that_is_always_right_saves_most_passes():
    large = model(3)
    prompt = torch.tensor([[1, 2]])
    found = run(large, large, prompt, max_new=40, draft=4)
    assert torch.equal(found.tokens, alone(large, prompt, 40))
    assert found.passes == 8  # 40 tokens in runs of 4 drafted and 1 of its own
    assert found.accepted == found.drafted == 32


def test_it_stops_at_an_end_token_inside_a_run():
    large = model(4)
    prompt = torch.tensor([[5, 6]])
    free = alone(large, prompt, 30)[0, 2:].tolist()
    for end in sorted(set(free)):
        found = run(large, large, prompt, max_new=30, draft=4, end_id=[end, 99])
        assert torch.equal(found.tokens, alone(large, prompt, 30, end_id=end))


def test_what_it_refuses():
    large, prompt = model(5), torch.tensor([[1]])
    with pytest.raises(ValueError, match="got 0 and 4"):
        run(large, large, prompt, max_new=0)
    with pytest.raises(ValueError, match="got 3 and 0"):
        run(large, large, prompt, max_new=3, draft=0)
    cache = KeyValueCache(2, 80)
    large(prompt, cache=cache)
    with pytest.raises(ValueError, match="must be empty"):
        speculate(large, cache, large, KeyValueCache(2, 80), prompt, max_new=3)


@pytest.mark.usefixtures("own_errors")
def test_several_sequences_are_refused():
    large = model(5)
    with pytest.raises(ValueError, match=r"one prompt.*\(2, 1\)"):
        run(large, large, torch.ones(2, 1, dtype=torch.long), max_new=3)
