"""The library's layers, functions and losses as PyTorch's own.

In: a call of the library and its tensors. Out: a ``Counterpart`` with PyTorch's module or function; None where there is
none. The library has PyTorch's names for arguments, so that a table of names is nearly all there is to say.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..compiler.graph import Call, Value
from .translation import Counterpart

MODULES: dict[str, Callable[..., nn.Module]] = {
    "linear": nn.Linear, "embedding": nn.Embedding, "prelu": nn.PReLU,
    "conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv3d": nn.Conv3d,
    "conv_transpose1d": nn.ConvTranspose1d, "conv_transpose2d": nn.ConvTranspose2d,
    "conv_transpose3d": nn.ConvTranspose3d,
    "batch_norm1d": nn.BatchNorm1d, "batch_norm2d": nn.BatchNorm2d, "batch_norm3d": nn.BatchNorm3d,
    "instance_norm1d": nn.InstanceNorm1d, "instance_norm2d": nn.InstanceNorm2d, "instance_norm3d": nn.InstanceNorm3d,
    "layer_norm": nn.LayerNorm, "group_norm": nn.GroupNorm, "rms_norm": nn.RMSNorm,
    "rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU,
    "multihead_attention": nn.MultiheadAttention, "transformer_encoder_layer": nn.TransformerEncoderLayer,
    "dropout": nn.Dropout, "dropout1d": nn.Dropout1d, "dropout2d": nn.Dropout2d, "dropout3d": nn.Dropout3d,
    "alpha_dropout": nn.AlphaDropout, "feature_alpha_dropout": nn.FeatureAlphaDropout, "rrelu": nn.RReLU,
    "softmax2d": nn.Softmax2d,
}  # fmt: skip
RECURRENT = ("rnn", "lstm", "gru")  # their signatures do not tell what they take
BATCH_FIRST = ("multihead_attention", "transformer_encoder_layer")
EVERYWHERE = {"bias": True, "causal": False, "batch_first": True}
"""Arguments of the library that a module may lack, if they have this value."""
FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(functional, name)
    for name in (
        "relu", "hardtanh", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardsigmoid",
        "hardswish", "hardshrink", "softshrink", "tanhshrink", "softplus", "softsign", "threshold", "glu", "softmax",
        "softmin", "log_softmax", "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
        "lp_pool1d", "lp_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
        "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "local_response_norm", "pixel_shuffle",
        "pixel_unshuffle", "channel_shuffle", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "nll_loss",
        "poisson_nll_loss", "gaussian_nll_loss", "hinge_embedding_loss", "soft_margin_loss", "multi_margin_loss",
        "multilabel_soft_margin_loss",
    )
} | {
    "flatten": torch.flatten, "unflatten": torch.unflatten, "log_sigmoid": functional.logsigmoid,
    "bce_loss": functional.binary_cross_entropy, "kl_div_loss": functional.kl_div,
    "bce_with_logits_loss": functional.binary_cross_entropy_with_logits, "cross_entropy_loss": functional.cross_entropy,
}  # fmt: skip
RENAMED = {"unflatten": {"unflattened_size": "sizes"}}
TENSORS = ("weight", "pos_weight")
"""Arguments of losses that are lists in the library."""


def layer(call: Call, own: Mapping[str, Value], tensors: Mapping[str, torch.Tensor]) -> Counterpart | None:
    """own: the leaves of the call's parameters and buffers by name; tensors: of all leaves."""
    if call.name in MODULES:
        return _module(call, own, tensors)
    if call.name in FUNCTIONS:
        return _function(call)
    return None


def _function(call: Call) -> Counterpart:
    names = RENAMED.get(call.name, {})
    given = {names.get(k, k): v for k, v in call.given.items()}
    first = next(iter(given))
    values = {k: v for k, v in given.items() if isinstance(v, Value)}
    dtype = values[first].dtype.value
    known = {k: _plain(k, v, dtype) for k, v in given.items() if not isinstance(v, Value)}
    function, others = FUNCTIONS[call.name], [k for k in values if k != first]
    if not others:
        return Counterpart(lambda x: function(x, **known), (values[first],))
    if others == ["target"]:
        return Counterpart(lambda x, y: function(x, y, **known), (values[first], values["target"]))
    return Counterpart(
        lambda x, *more: function(x, **dict(zip(others, more, strict=True)), **known),
        (values[first], *(values[k] for k in others)),
    )


def _plain(name: str, value: Any, dtype: str) -> Any:
    if isinstance(value, list):
        return torch.tensor(value, dtype=getattr(torch, dtype)) if name in TENSORS else tuple(value)
    return value


def _module(call: Call, own: Mapping[str, Value], tensors: Mapping[str, torch.Tensor]) -> Counterpart | None:
    first, *names = call.given
    x = call.given[first]
    kind = MODULES[call.name]
    known = inspect.signature(kind).parameters
    arguments = {}
    for name in names:
        value = call.given[name]
        if name in known or call.name in RECURRENT:
            arguments[name] = tuple(value) if isinstance(value, list) else value
        elif EVERYWHERE.get(name) is not value:
            return None
    if call.name in BATCH_FIRST:
        arguments["batch_first"] = True
    if call.name in ("layer_norm", "rms_norm") and arguments["normalized_shape"] is None:
        arguments["normalized_shape"] = x.shape[-1]
    module = kind(**arguments)
    if x.dtype.value == "float64":
        module = module.double()
    for name, leaf in own.items():
        holder, _, last = name.rpartition(".")
        setattr(module.get_submodule(holder), last, tensors[str(leaf.attrs["name"])])
    missing = {n for n, _ in module.named_parameters()} - set(own)
    assert not missing, (
        f"bug in netc: PyTorch's {call.name} has parameters {missing} that the library has not"
    )
    if call.name in RECURRENT:
        return Counterpart(lambda v: module(v)[0], (x,))
    if call.name == "multihead_attention":
        return Counterpart(lambda v: module(v, v, v, need_weights=False)[0], (x,))
    return Counterpart(module, (x,))
