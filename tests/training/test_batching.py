"""Batches of pairs: the tensors by hand, and the promises of the token budget."""

import random
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tfmlib.training.batching import (
    PairBatch,
    ResampledBatches,
    TokenBudgetBatches,
    collate,
    pair_loss,
)

IDS = {"pad_id": 0, "start_id": 1, "end_id": 2}


def corpus(n=3000, seed=0):
    """Pairs whose lengths spread and go together as those of sentences do; the first id counts."""
    rng = random.Random(seed)
    pairs = []
    for i in range(n):
        source = max(1, round(rng.lognormvariate(2.6, 0.4)))
        target = max(1, round(source * rng.uniform(0.7, 1.4)))
        pairs.append(([3 + i] * source, [3 + i] * target))
    return pairs


def budget(pairs, **options):
    return TokenBudgetBatches(pairs, **({"max_tokens": 400, "seed": 5} | IDS | options))


def padding_share(batches):
    batches = list(batches)
    cells = sum(b.source.numel() + b.target_out.numel() for b in batches)
    real = sum(int(b.source_mask.sum()) + b.n_tokens(0) for b in batches)
    return 1 - real / cells


def test_collate_by_hand():
    batch = collate([([5, 6, 7], [8]), ([9], [10, 11])], **IDS)
    assert batch.source.tolist() == [[5, 6, 7], [9, 0, 0]]
    assert batch.source_mask.tolist() == [[True, True, True], [True, False, False]]
    assert batch.target_in.tolist() == [[1, 8, 0], [1, 10, 11]]
    assert batch.target_out.tolist() == [[8, 2, 0], [10, 11, 2]]
    assert batch.source.dtype == batch.target_in.dtype == torch.int64
    assert batch.n_tokens(0) == 5


def test_an_empty_target_is_to_give_the_end_token_at_once():
    batch = collate([([5], [])], **IDS)
    assert batch.target_in.tolist() == [[1]]
    assert batch.target_out.tolist() == [[2]]


def test_a_padding_id_other_than_zero():
    batch = collate([([0], [3, 0]), ([3, 4], [])], pad_id=9, start_id=1, end_id=2)
    assert batch.source.tolist() == [[0, 9], [3, 4]]
    assert batch.source_mask.tolist() == [[True, False], [True, True]]
    assert batch.target_out.tolist() == [[3, 0, 2], [2, 9, 9]]
    assert batch.n_tokens(9) == 4


def test_to_moves_every_tensor():
    batch = collate([([5], [8])], **IDS).to("meta")
    assert {t.device.type for t in vars(batch).values()} == {"meta"}


@pytest.mark.parametrize("pool_size", [150, 10_000])
def test_every_pair_once_an_epoch(pool_size):
    pairs = corpus()
    batches = budget(pairs, pool_size=pool_size)
    for epoch in (0, 1):
        seen = [int(row[0]) - 3 for b in batches.epoch(epoch) for row in b.source]
        assert sorted(seen) == list(range(len(pairs)))


def test_each_row_is_its_pair():
    pairs = corpus(200)
    for batch in budget(pairs).epoch(0):
        for source, mask, target in zip(
            batch.source, batch.source_mask, batch.target_out, strict=True
        ):
            expected_source, expected_target = pairs[int(source[0]) - 3]
            assert source[mask].tolist() == expected_source
            assert target[target != 0].tolist() == [*expected_target, 2]


def test_neither_padded_side_exceeds_the_budget_and_the_batches_are_nearly_full():
    batches = list(budget(corpus()).epoch(0))
    sizes = [max(b.source.numel(), b.target_out.numel(), b.target_in.numel()) for b in batches]
    assert max(sizes) <= 400
    assert sum(sizes) / len(sizes) > 0.9 * 400


def test_a_batch_takes_one_more_row_if_it_fits_exactly():
    pairs = [([3] * 4, [3] * 4)] * 10  # 5 places a row: the target and its end token
    assert [len(b) for b in budget(pairs, max_tokens=25).indices(0)] == [5, 5]
    assert sorted(len(b) for b in budget(pairs, max_tokens=24).indices(0)) == [2, 4, 4]


def test_sorting_wastes_far_less_than_random_batches():
    pairs = corpus()
    order = list(range(len(pairs)))
    random.Random(1).shuffle(order)
    at_random = [
        collate([pairs[i] for i in order[j : j + 20]], **IDS) for j in range(0, len(order), 20)
    ]
    assert padding_share(at_random) > 0.35
    assert padding_share(budget(corpus()).epoch(0)) < 0.12
    # Smaller pools, more padding: between the two.
    share = padding_share(budget(corpus(), pool_size=200).epoch(0))
    assert 0.12 < share < 0.35


def test_an_epoch_is_a_function_of_seed_and_epoch_alone():
    pairs = corpus(500)
    batches = budget(pairs)
    first = batches.indices(3)
    torch.rand(5)
    random.random()
    batches.indices(0)
    assert batches.indices(3) == first == budget(pairs).indices(3)
    assert batches.indices(4) != first
    assert budget(pairs, seed=6).indices(3) != first


def test_batches_change_from_epoch_to_epoch_and_do_not_come_in_order_of_length():
    batches = budget(corpus())
    together = [{frozenset(b) for b in batches.indices(epoch)} for epoch in (0, 1)]
    assert len(together[0] & together[1]) < 0.1 * len(together[0])
    lengths = torch.tensor([float(b.source.shape[1]) for b in batches.epoch(0)])
    neighbours = torch.corrcoef(torch.stack((lengths[1:], lengths[:-1])))[0, 1]
    assert neighbours.abs() < 0.4


def test_pairs_drawn_anew_are_those_of_their_epoch():
    batches = ResampledBatches(lambda epoch: corpus(40, seed=epoch), max_tokens=400, seed=5, **IDS)
    for epoch in (0, 1):
        expected = budget(corpus(40, seed=epoch))
        assert batches.indices(epoch) == expected.indices(epoch)
        for found, wanted in zip(batches.epoch(epoch), expected.epoch(epoch), strict=True):
            assert torch.equal(found.source, wanted.source)
            assert torch.equal(found.target_out, wanted.target_out)


def test_pairs_beyond_the_budget():
    pairs = [([3] * 5, [3] * 5), ([3] * 30, [3] * 4), ([3] * 4, [3] * 20), ([3] * 4, [3] * 19)]
    with pytest.raises(ValueError, match=r"pair 1 .* max_tokens=20: source 30 .* \(2 of 4 pairs"):
        budget(pairs, max_tokens=20)
    batches = budget(pairs, max_tokens=20, too_long="drop")
    assert batches.dropped == [1, 2]
    assert sorted(i for b in batches.indices(0) for i in b) == [0, 3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: collate([], **IDS), "at least one pair"),
        (lambda: collate([([3], [3]), ([], [3])], **IDS), "source of pair 1 of the batch is empty"),
        (lambda: collate([([3], [4, 0])], **IDS), "pair 0 .* padding id 0"),
        (lambda: collate([([0], [4])], **IDS), "pair 0 .* padding id 0"),
        (lambda: budget([]), "no pairs"),
        (lambda: budget([([3], [3])], max_tokens=0), "must be positive, got 0"),
        (lambda: budget([([3], [3])], pool_size=0), "must be positive, got 400 and 0"),
        (lambda: budget([([3], [3])], max_tokens=1, too_long="drop"), "every pair is larger"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(12, 12, generator=torch.Generator().manual_seed(0)))

    def forward(self, source, target, source_mask):
        pooled = (self.table[source] * source_mask.unsqueeze(-1)).sum(1)
        return self.table[target] + pooled.unsqueeze(1)


def test_pair_loss_is_the_summed_cross_entropy_of_the_next_tokens():
    model, batch = Toy(), collate([([5, 6, 7], [8]), ([9], [10, 11])], **IDS)
    loss, n = partial(pair_loss, pad_id=0, label_smoothing=0.1)(model, batch)
    expected = F.cross_entropy(
        model(batch.source, batch.target_in, batch.source_mask).flatten(0, 1),
        torch.tensor([8, 2, 0, 10, 11, 2]),
        ignore_index=0,
        label_smoothing=0.1,
        reduction="sum",
    )
    assert n == 5
    torch.testing.assert_close(loss, expected)


def test_pair_batch_refuses_tensors_that_do_not_belong_together():
    batch = collate([([5, 6], [8])], **IDS)
    with pytest.raises(TypeError):
        PairBatch(batch.source, batch.source_mask[:, :1], batch.target_in, batch.target_out)
