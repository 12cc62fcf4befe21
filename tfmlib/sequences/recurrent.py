"""Recurrent sequence-to-sequence models: what the Transformer replaced.

Sutskever, Vinyals and Le (2014), "Sequence to Sequence Learning with Neural Networks"
(arXiv:1409.3215): one LSTM reads the source, its last state is all that another LSTM gets to
write the target from. Bahdanau, Cho and Bengio (2015, arXiv:1409.0473) let the second one look
back at every state of the first; the form here is that of Luong, Pham and Manning (2015,
arXiv:1508.04025), section 3.1, whose steps do not wait for each other's attention.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class RecurrentMemory(NamedTuple):
    """What the decoder gets from the encoder.

    Attributes:
        hidden: The last hidden state of each layer.
        cell: The last cell state of each layer.
        states: The hidden states of the top layer at all source positions, 0 where there is
            padding; None in a model without attention, which must do without them.
    """

    hidden: Float[Tensor, "layers batch d_model"]
    cell: Float[Tensor, "layers batch d_model"]
    states: Float[Tensor, "batch source_time d_model"] | None


class RecurrentSeq2Seq(nn.Module):
    """An encoder and a decoder of LSTM layers, with or without attention between them.

    It has the methods of `tfmlib`'s Transformer, so that both can be trained and measured by the
    same code. Source and target share one vocabulary and one embedding.

    Args:
        vocab_size: The number of tokens.
        d_model: The size of embeddings and states.
        n_layers: LSTM layers in the encoder, and again in the decoder.
        attention: Let the decoder attend to all encoder states.
        bidirectional: Let half of each encoder state come from an LSTM that reads backwards.
        dropout: On the embeddings, between layers and before the output.
        pad_id: The id of padding; its embedding is 0 and is not trained.

    Raises:
        ValueError: A size or the dropout is out of range, or `d_model` is odd where it must be
            halved.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        d_model: int,
        n_layers: int = 1,
        attention: bool = False,
        bidirectional: bool = False,
        dropout: float = 0.0,
        pad_id: int = 0,
    ) -> None:
        super().__init__()
        if min(vocab_size, d_model, n_layers) < 1 or not 0 <= pad_id < vocab_size:
            raise ValueError(
                "expected vocab_size, d_model and n_layers >= 1 and 0 <= pad_id < vocab_size, got "
                f"vocab_size={vocab_size}, d_model={d_model}, n_layers={n_layers}, pad_id={pad_id}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"expected 0 <= dropout < 1, got {dropout}")
        if bidirectional and d_model % 2:
            raise ValueError(f"expected an even d_model with bidirectional=True, got {d_model}")
        self.n_layers, self.bidirectional, self.pad_id = n_layers, bidirectional, pad_id
        self.embedding = nn.Embedding(vocab_size, d_model, padding_idx=pad_id)
        between = dropout if n_layers > 1 else 0.0
        self.encoder = nn.LSTM(
            d_model,
            d_model // 2 if bidirectional else d_model,
            n_layers,
            batch_first=True,
            dropout=between,
            bidirectional=bidirectional,
        )
        self.decoder = nn.LSTM(d_model, d_model, n_layers, batch_first=True, dropout=between)
        self.attention = _Attention(d_model) if attention else None
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(d_model, vocab_size)

    def encode(
        self,
        source: Int[Tensor, "batch source_time"],
        source_mask: Bool[Tensor, "batch source_time"] | None = None,
    ) -> RecurrentMemory:
        """Read the source.

        Args:
            source: Token ids.
            source_mask: True where there is a token, False where there is padding, which must
                follow the tokens. None: no padding. What stands at padded positions has no
                influence on anything.

        Raises:
            ValueError: A source has no token, or padding before a token.
        """
        if source_mask is None:
            source_mask = torch.ones_like(source, dtype=torch.bool)
        lengths = source_mask.sum(1)
        if not torch.equal(source_mask, _first(lengths, source.shape[1])) or (lengths < 1).any():
            raise ValueError("expected sources of at least one token with the padding at the end")
        packed = pack_padded_sequence(
            self.dropout(self.embedding(source)),
            lengths.cpu(),
            batch_first=True,
            enforce_sorted=False,
        )
        packed_states, (hidden, cell) = self.encoder(packed)
        if self.attention is None:
            return RecurrentMemory(self._join(hidden), self._join(cell), None)
        states, _ = pad_packed_sequence(
            packed_states, batch_first=True, total_length=source.shape[1]
        )
        return RecurrentMemory(self._join(hidden), self._join(cell), states)

    def _join(
        self, state: Float[Tensor, "layers_and_directions batch d_direction"]
    ) -> Float[Tensor, "layers batch d_model"]:
        """Put the last states of both directions side by side, which torch keeps as layers."""
        if not self.bidirectional:
            return state
        return torch.cat([state[0::2], state[1::2]], dim=-1)

    def decode(
        self,
        target: Int[Tensor, "batch target_time"],
        memory: RecurrentMemory,
        memory_mask: Bool[Tensor, "batch source_time"] | None = None,
        *,
        cache: object | None = None,
    ) -> Float[Tensor, "batch target_time vocab"]:
        """Return the scores (logits) of the token after each token of the target.

        Args:
            target: Token ids, from the start token on.
            memory: What `encode` returned.
            memory_mask: The `source_mask` given to `encode`; only attention needs it.
            cache: Not supported: decoding runs over the whole prefix again for every token.

        Raises:
            ValueError: A cache is given.
        """
        if cache is not None:
            raise ValueError(
                f"{type(self).__name__} has no cache: decode the whole prefix, with cache=None"
            )
        embedded = self.dropout(self.embedding(target))
        states, _ = self.decoder(embedded, (memory.hidden, memory.cell))
        if self.attention is not None:
            states = self.attention(states, memory.states, memory_mask)
        return self.output(self.dropout(states))

    def forward(
        self,
        source: Int[Tensor, "batch source_time"],
        target: Int[Tensor, "batch target_time"],
        source_mask: Bool[Tensor, "batch source_time"] | None = None,
    ) -> Float[Tensor, "batch target_time vocab"]:
        """Return the logits for every next target token, given the source and the true tokens."""
        return self.decode(target, self.encode(source, source_mask), source_mask)


class _Attention(nn.Module):
    """Attention from decoder to encoder states (Luong et al., 2015, equations 5, 7 and 8).

    The score is the paper's "general" one, divided by `sqrt(d_model)`; the chapter on attention
    says why.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.combine = nn.Linear(2 * d_model, d_model)

    def forward(
        self,
        decoder_states: Float[Tensor, "batch target_time d_model"],
        encoder_states: Float[Tensor, "batch source_time d_model"],
        mask: Bool[Tensor, "batch source_time"] | None,
    ) -> Float[Tensor, "batch target_time d_model"]:
        """Return the decoder states, each enriched by what it attends to.

        A row with nothing to attend to gets the context 0.
        """
        weights = self.weights(decoder_states, encoder_states, mask)
        context = weights @ encoder_states  # [batch target_time d_model]
        return torch.tanh(self.combine(torch.cat([context, decoder_states], dim=-1)))

    def weights(
        self,
        decoder_states: Float[Tensor, "batch target_time d_model"],
        encoder_states: Float[Tensor, "batch source_time d_model"],
        mask: Bool[Tensor, "batch source_time"] | None = None,
    ) -> Float[Tensor, "batch target_time source_time"]:
        """Return how much each decoder state attends to each encoder state."""
        scores = self.query(decoder_states) @ encoder_states.transpose(1, 2)
        scores = scores / math.sqrt(decoder_states.shape[-1])
        if mask is None:
            return torch.softmax(scores, dim=-1)
        allowed = mask[:, None]  # [batch 1 source_time]
        lowest = torch.finfo(scores.dtype).min  # not -inf, which gives NaN in a row of nothing else
        return torch.softmax(scores.masked_fill(~allowed, lowest), dim=-1) * allowed


def _first(lengths: Int[Tensor, " batch"], time: int) -> Bool[Tensor, "batch time"]:
    """Return a mask of `time` positions whose rows are True at the first `lengths` ones."""
    return torch.arange(time, device=lengths.device) < lengths[:, None]
