"""The weights of PyTorch's layers under the names of ours."""

from torch import Tensor, nn


def _attention(name: str, module: nn.MultiheadAttention) -> dict[str, Tensor]:
    weights = {}
    for part, weight, bias in zip(
        "qkv", module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3), strict=True
    ):
        weights[f"{name}.project_{part}.weight"] = weight
        weights[f"{name}.project_{part}.bias"] = bias
    weights[f"{name}.project_o.weight"] = module.out_proj.weight
    weights[f"{name}.project_o.bias"] = module.out_proj.bias
    return weights


def _rename(module: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    return {
        f"{ours}.{kind}": getattr(getattr(module, theirs), kind)
        for ours, theirs in names.items()
        for kind in ("weight", "bias")
    }


def encoder_layer_weights(layer: nn.TransformerEncoderLayer) -> dict[str, Tensor]:
    """State of an `EncoderLayer` equal to this layer."""
    return _attention("attention", layer.self_attn) | _rename(
        layer,
        {
            "residual_attention.norm": "norm1",
            "feed_forward.expand": "linear1",
            "feed_forward.contract": "linear2",
            "residual_feed_forward.norm": "norm2",
        },
    )


def decoder_layer_weights(layer: nn.TransformerDecoderLayer) -> dict[str, Tensor]:
    """State of a `DecoderLayer` with cross-attention equal to this layer."""
    return (
        _attention("self_attention", layer.self_attn)
        | _attention("cross_attention", layer.multihead_attn)
        | _rename(
            layer,
            {
                "residual_self_attention.norm": "norm1",
                "residual_cross_attention.norm": "norm2",
                "feed_forward.expand": "linear1",
                "feed_forward.contract": "linear2",
                "residual_feed_forward.norm": "norm3",
            },
        )
    )
