"""Training a translator from pairs of sentences: tokenizer, batches, schedule, loop, average."""

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tfmlib.blocks.tokens import BytePairTokenizer, split_words
from tfmlib.generation.translation import Casing, Translator
from tfmlib.training.batching import (
    Pair,
    PairBatch,
    ResampledBatches,
    TokenBudgetBatches,
    pair_loss,
)
from tfmlib.training.loop import TrainingConfig, train
from tfmlib.training.optimizer import adamw, warmup_inverse_square_root
from tfmlib.transformer.transformer import Transformer, TransformerConfig

TextPair = tuple[str, str]
CUTS = 8  # of every word, where merges are left out by chance


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a training run is made of; the defaults fit 30 000 pairs on a laptop.

    Attributes: as the options of `python -m tfmlib translation train --help` say.
    """

    vocab_size: int = 6000
    d_model: int = 128
    n_heads: int = 4
    d_ff: int = 512
    n_layers: int = 4
    dropout: float = 0.2
    merge_dropout: float = 0.0
    norm_place: str = "pre"
    epochs: int = 25
    peak_lr: float = 4e-3
    warmup: int = 500
    batch_tokens: int = 2000
    label_smoothing: float = 0.1
    average: int = 8
    seed: int = 0
    precision: str = "fp32"
    casing: Casing = field(default_factory=Casing)

    def __post_init__(self) -> None:
        """Reject values that cannot be trained with."""
        least = {"vocab_size": 260, "epochs": 1, "warmup": 1, "n_layers": 1, "average": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} must be at least {bound}; got {getattr(self, name)}")
        for name in ("dropout", "merge_dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1); got {getattr(self, name)}")
        if self.peak_lr <= 0:
            raise ValueError(f"peak_lr must be positive; got {self.peak_lr}")


def train_translator(
    train_pairs: Sequence[TextPair],
    valid_pairs: Sequence[TextPair],
    settings: Settings,
    *,
    folder: Path,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda text: None,
    progress: bool = True,
) -> Translator:
    """Train on pairs of sentences and leave a `Translator` in the folder.

    The folder holds the run's settings, the tokenizer, the history and a checkpoint, so that the
    same call goes on where an interrupted one stopped, and at the end the translator itself: the
    mean of the weights after each of the last epochs.

    Raises:
        ValueError: unusable pairs, or a folder that holds a run with other settings or data.
    """
    train_pairs = _usable(train_pairs, "training", say)
    valid_pairs = _usable(valid_pairs, "validation", say)
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, settings, [train_pairs, valid_pairs])
    if (folder / "translator.json").exists():
        say(f"{folder} is trained already; nothing to do")
        return Translator.load(folder, device=device)
    torch.manual_seed(settings.seed)
    tokenizer = _tokenizer(train_pairs, settings, folder / "tokenizer.json", say, progress)
    model = Transformer(
        TransformerConfig(
            vocab_size=tokenizer.vocab_size,
            d_model=settings.d_model,
            n_heads=settings.n_heads,
            d_ff=settings.d_ff,
            n_encoder_layers=settings.n_layers,
            n_decoder_layers=settings.n_layers,
            dropout=settings.dropout,
            norm_place=settings.norm_place,
            max_length=256,
            pad_id=tokenizer.pad_id,
        )
    ).to(device)
    translator = Translator(model, tokenizer, casing=settings.casing)
    batches: TokenBudgetBatches | ResampledBatches = _batches(
        translator, train_pairs, settings, say
    )
    if settings.merge_dropout:
        batches = _resampled(translator, train_pairs, settings)
    valid = list(_batches(translator, valid_pairs, settings, say).epoch(0))
    per_epoch = len(batches.indices(0))
    steps = settings.epochs * per_epoch
    config = TrainingConfig(
        steps=steps,
        precision=settings.precision,  # type: ignore[arg-type]
        evaluate_every=per_epoch,
        checkpoint_every=per_epoch,
        average_last=settings.average,
        cooldown=min(steps // 5, steps - 1),
    )
    parameters = sum(p.numel() for p in model.parameters())
    say(
        f"{len(train_pairs)} pairs, {tokenizer.vocab_size} tokens in the vocabulary, {parameters} "
        f"parameters, {settings.epochs} epochs of about {per_epoch} steps"
    )

    def report(record: dict[str, Any]) -> None:
        if "valid_loss" in record:
            say(f"step {record['step']}: validation loss {record['valid_loss']:.3f}")

    train(
        model,
        adamw(model, lr=settings.peak_lr, weight_decay=0.01),
        warmup_inverse_square_root(settings.peak_lr, settings.warmup),
        batches,
        partial(pair_loss, pad_id=tokenizer.pad_id, label_smoothing=settings.label_smoothing),
        config,
        evaluate=partial(_evaluate, batches=valid, pad_id=tokenizer.pad_id, device=device),
        folder=folder,
        device=device,
        progress=progress,
        on_log=report,
    )
    translator.save(folder)
    say(f"the translator is in {folder}")
    return translator


def _usable(pairs: Sequence[TextPair], what: str, say: Callable[[str], None]) -> list[TextPair]:
    """The pairs of which neither side is blank."""
    kept = [(s.strip(), t.strip()) for s, t in pairs if s.strip() and t.strip()]
    if not kept:
        raise ValueError(f"the {what} text has no pair of which neither side is blank")
    if len(kept) < len(pairs):
        say(f"{len(pairs) - len(kept)} {what} pairs with a blank side are left out")
    return kept


def _claim(folder: Path, settings: Settings, data: list[list[TextPair]]) -> None:
    """Write down what the folder's run is of; refuse a folder that holds another run."""
    digest = hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]
    wanted = {**asdict(settings), "data": digest}
    path = folder / "settings.json"
    if not path.exists():
        if any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty, and not a run: there is no settings.json")
        path.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not the settings of a run: {error}") from error
    for name, value in wanted.items():
        if not isinstance(found, dict) or found.get(name) != value:
            was = found.get(name) if isinstance(found, dict) else found
            raise ValueError(
                f"{folder} holds a run with another {name}: {was} there, {value} asked for; "
                "resume with the same command, or choose another folder"
            )


def _tokenizer(
    pairs: Sequence[TextPair],
    settings: Settings,
    path: Path,
    say: Callable[[str], None],
    progress: bool,
) -> BytePairTokenizer:
    """The run's tokenizer: learnt from both sides at the start, read again when resuming."""
    if path.exists():
        return BytePairTokenizer.load(path)
    say("learning the vocabulary")
    casing = settings.casing
    text = [casing.source(s) for s, _ in pairs] + [casing.target(t) for _, t in pairs]
    tokenizer = BytePairTokenizer.train(text, vocab_size=settings.vocab_size, progress=progress)
    tokenizer.save(path)
    return tokenizer


def _batches(
    translator: Translator,
    pairs: Sequence[TextPair],
    settings: Settings,
    say: Callable[[str], None],
) -> TokenBudgetBatches:
    """Batches of the pairs that the model has positions for."""
    tokenizer, longest = translator.tokenizer, translator.model.config.max_length
    ids: list[Pair] = [translator.encode_pair(*pair) for pair in pairs]
    kept = [(s, t) for s, t in ids if len(s) <= longest and len(t) < longest]
    if len(kept) < len(ids):
        say(f"{len(ids) - len(kept)} pairs of more than {longest} tokens are left out")
    return TokenBudgetBatches(kept, **_batching(tokenizer, settings))


def _batching(tokenizer: BytePairTokenizer, settings: Settings) -> dict[str, Any]:
    """How batches are cut."""
    return {
        "max_tokens": settings.batch_tokens,
        "seed": settings.seed,
        "pad_id": tokenizer.pad_id,
        "start_id": tokenizer.start_id,
        "end_id": tokenizer.end_id,
    }


def _resampled(
    translator: Translator, pairs: Sequence[TextPair], settings: Settings
) -> ResampledBatches:
    """Batches in which the words are cut anew in every epoch, with some merges left out.

    Every word gets a few cuts in advance and one of them each time it comes: cutting all words
    anew would take longer than a tenth of the training.
    """
    tokenizer, longest = translator.tokenizer, translator.model.config.max_length
    casing, rng = translator.casing, random.Random(settings.seed)
    split = [(split_words(casing.source(s)), split_words(casing.target(t))) for s, t in pairs]
    words = dict.fromkeys(word for pair in split for side in pair for word in side)
    cuts = {
        word: [
            tokenizer.sample_word(word, dropout=settings.merge_dropout, rng=rng)
            for _ in range(CUTS)
        ]
        for word in words
    }

    def pairs_of(epoch: int) -> list[Pair]:
        chosen = random.Random(f"{settings.seed}/{epoch}/cuts")

        def ids(side: list[str]) -> list[int]:
            return [id for word in side for id in chosen.choice(cuts[word])]

        encoded = [(ids(source), ids(target)) for source, target in split]
        return [(s, t) for s, t in encoded if len(s) <= longest and len(t) < longest]

    return ResampledBatches(pairs_of, **_batching(tokenizer, settings))


def _evaluate(
    model: torch.nn.Module,
    *,
    batches: Sequence[PairBatch],
    pad_id: int,
    device: torch.device | str,
) -> dict[str, float]:
    """Mean loss per target token, in nats, without label smoothing."""
    total, tokens = 0.0, 0
    for batch in batches:
        loss, n = pair_loss(model, batch.to(device), pad_id=pad_id)
        total, tokens = total + float(loss), tokens + n
    return {"valid_loss": total / tokens}
