"""Translation, end to end: text in, text out.

A `Translator` is a trained encoder-decoder, the tokenizer it was trained with and the few decisions
about text that belong to it. Sentences are translated in batches of similar length by beam search
with a key-value cache.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

import torch
from tqdm import tqdm

from tfmlib.blocks.tokens import BytePairTokenizer
from tfmlib.generation.beam import beam_search
from tfmlib.generation.cache import CachedDecoder, KeyValueCache
from tfmlib.training.batching import Pair
from tfmlib.training.checkpoint import load_model, save_model
from tfmlib.transformer.transformer import Transformer, TransformerConfig

T = TypeVar("T")

FORMAT = "tfmlib translator"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Casing:
    """What is done to the letters' case, so that a small corpus need not learn it twice.

    Attributes:
        lowercase_source: read the source in lower case.
        decapitalize_target: write the first letter of a target in lower case for training, and
            raise it again in a translation.
    """

    lowercase_source: bool = True
    decapitalize_target: bool = True

    def source(self, text: str) -> str:
        """A source sentence as the model reads it."""
        return text.lower() if self.lowercase_source else text

    def target(self, text: str) -> str:
        """A target sentence as the model learns it."""
        return text[:1].lower() + text[1:] if self.decapitalize_target else text

    def restore(self, text: str) -> str:
        """What the model wrote, as a reader sees it."""
        return text[:1].upper() + text[1:] if self.decapitalize_target else text


class Translator:
    """A trained encoder-decoder with its tokenizer.

    Args:
        model: has `encode`, `decode` with a cache, and a `config` as `Transformer` has.
        tokenizer: text to token ids and back, for both languages.
        casing: what is done to the letters' case.
    """

    def __init__(
        self, model: Transformer, tokenizer: BytePairTokenizer, *, casing: Casing | None = None
    ) -> None:
        if model.config.vocab_size != tokenizer.vocab_size:
            raise ValueError(
                f"the model has {model.config.vocab_size} tokens and the tokenizer "
                f"{tokenizer.vocab_size}"
            )
        self.model, self.tokenizer = model, tokenizer
        self.casing = Casing() if casing is None else casing

    def encode_pair(self, source: str, target: str) -> Pair:
        """Token ids of a training pair, without start and end."""
        return (
            self.tokenizer.encode(self.casing.source(source)),
            self.tokenizer.encode(self.casing.target(target)),
        )

    @torch.no_grad()
    def translate(
        self,
        sentences: Sequence[str],
        *,
        beam: int = 5,
        length_exponent: float = 1.0,
        batch_tokens: int = 1000,
        progress: bool = False,
    ) -> list[str]:
        """Translate sentences; a blank one gives an empty translation.

        Args:
            sentences: one sentence each.
            beam: width of the beam; 1 is greedy.
            length_exponent: see `beam_search`.
            batch_tokens: sentences x longest source in a batch, at most (one sentence at least).
            progress: show a progress bar.

        Raises:
            TypeError: one string instead of several.
            ValueError: a sentence of more tokens than the model has positions.
        """
        if isinstance(sentences, str):
            raise TypeError("expected several sentences, got one string; pass [sentence]")
        ids = [self.tokenizer.encode(self.casing.source(s.strip())) for s in sentences]
        longest = self.model.config.max_length
        for i, row in enumerate(ids):
            if len(row) > longest:
                raise ValueError(
                    f"sentence {i + 1} has {len(row)} tokens; the model reads {longest} at most"
                )
        was_training = self.model.training
        self.model.eval()
        result = [""] * len(ids)
        order = sorted((i for i, row in enumerate(ids) if row), key=lambda i: -len(ids[i]))
        with tqdm(total=len(order), unit=" sentences", disable=not progress) as bar:
            while order:
                rows = order[: max(1, batch_tokens // len(ids[order[0]]))]
                order = order[len(rows) :]
                texts = self._translate_batch(
                    [ids[i] for i in rows], beam=beam, length_exponent=length_exponent
                )
                for i, text in zip(rows, texts, strict=True):
                    result[i] = text
                bar.update(len(rows))
        self.model.train(was_training)
        return result

    def _translate_batch(
        self, rows: list[list[int]], *, beam: int, length_exponent: float
    ) -> list[str]:
        """Translate sentences of similar length, given and returned longest first."""
        tokenizer, config = self.tokenizer, self.model.config
        device = next(self.model.parameters()).device
        longest = len(rows[0])
        padded = [row + [tokenizer.pad_id] * (longest - len(row)) for row in rows]
        source = torch.tensor(padded, device=device)  # [batch source]
        mask = source != tokenizer.pad_id
        # The same bound for every batch, so that a translation does not depend on its neighbours.
        max_new = config.max_length
        decoder = CachedDecoder(
            self.model.decode,
            KeyValueCache(config.n_decoder_layers, max_new),
            memory=self.model.encode(source, mask),
            memory_mask=mask,
        )
        start = source.new_full((len(rows), 1), tokenizer.start_id)
        found = beam_search(
            decoder,
            start,
            beam=beam,
            max_new=max_new,
            end_id=tokenizer.end_id,
            pad_id=tokenizer.pad_id,
            length_exponent=length_exponent,
        )
        best = found.tokens[:, 0].tolist()  # special tokens are left out of the text
        return [self.casing.restore(tokenizer.decode(row).strip()) for row in best]

    def save(self, folder: Path | str) -> None:
        """Write the translator to a folder: translator.json, tokenizer.json, model.safetensors."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(folder / "tokenizer.json")
        save_model(folder / "model.safetensors", self.model)
        content = {
            "format": FORMAT,
            "version": VERSION,
            "model": asdict(self.model.config),
            "casing": asdict(self.casing),
        }
        text = json.dumps(content, indent=2) + "\n"
        (folder / "translator.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str, *, device: torch.device | str = "cpu") -> "Translator":
        """Read a translator that `save` wrote.

        Raises:
            ValueError: the folder, or a file in it, is not what `save` writes.
        """
        folder = Path(folder)
        path = folder / "translator.json"
        if not path.is_file():
            raise ValueError(f"{folder} holds no translator: there is no {path.name} in it")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not a translator file: {error}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"{path} is not a translator file: its format is not {FORMAT!r}")
        if content.get("version") != VERSION:
            raise ValueError(f"{path} has version {content.get('version')}; expected {VERSION}")
        config = _from_json(TransformerConfig, content.get("model"), path)
        casing = _from_json(Casing, content.get("casing"), path)
        model = Transformer(config)
        load_model(folder / "model.safetensors", model)
        tokenizer = BytePairTokenizer.load(folder / "tokenizer.json")
        return cls(model.to(device).eval(), tokenizer, casing=casing)


def _from_json(kind: type[T], content: object, path: Path) -> T:
    """A dataclass from a JSON object that has just its fields."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(content, dict) or set(content) != names:
        got = sorted(content) if isinstance(content, dict) else content
        raise ValueError(f"{path}: expected {sorted(names)} for {kind.__name__}; got {got}")
    return kind(**content)
