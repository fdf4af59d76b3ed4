"""The layers of the workloads as functions of JAX, with PyTorch's names of parameters.

In: a layer, its parameters, a batch. Out: the batch behind the layer. As a user of JAX who wants speed would write them:
the input's part of all steps of an LSTM is one product, all heads of an attention are one.
"""

from __future__ import annotations

from typing import Any

from ..workloads import LSTM, Conv, Embedding, Encoder, Layer, LayerNorm, Linear, Plain

EPS = 1e-5


class Functions:
    """``jax`` is given, since it is imported only where it is measured."""

    def __init__(self, jax: Any, *, rounded: bool = False) -> None:
        """rounded: factors of the products of linear layers are bfloat16."""
        self.jax, self.jnp, self.rounded = jax, jax.numpy, rounded

    def apply(self, layer: Layer, p: Any, x: Any) -> Any:
        match layer:
            case Linear():
                return self.product(x, p["weight"].T) + p["bias"]
            case Conv():
                around = [(layer.padding, layer.padding)] * 2
                x = self.jax.lax.conv_general_dilated(x, p["weight"], (1, 1), around)
                return x + p["bias"][:, None, None]
            case Embedding():
                return p["weight"][x]
            case LayerNorm():
                return self.normed(x, p["weight"], p["bias"])
            case LSTM():
                return self.lstm(layer, p, x)
            case Encoder():
                return self.encoder(layer, p, x)
            case Plain():
                return self.plain(layer, x)

    def product(self, a: Any, b: Any) -> Any:
        if not self.rounded:
            return a @ b
        half = self.jnp.bfloat16
        return (a.astype(half) @ b.astype(half)).astype(a.dtype)

    def plain(self, layer: Plain, x: Any) -> Any:
        nn = self.jax.nn
        match layer.kind:
            case "relu":
                return nn.relu(x)
            case "tanh":
                return self.jnp.tanh(x)
            case "gelu":
                return nn.gelu(x, approximate=False)
            case "softmax":
                return nn.softmax(x)
            case "pool":
                window = (1, 1, 2, 2)
                return self.jax.lax.reduce_window(x, -self.jnp.inf, self.jax.lax.max, window, window, "VALID")
            case "flatten":
                return x.reshape(x.shape[0], -1)
            case "last":
                return x[:, -1]
            case "mean":
                return x.mean(1)

    def normed(self, x: Any, weight: Any, bias: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        return centred * self.jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + EPS) * weight + bias

    def lstm(self, layer: LSTM, p: Any, x: Any) -> Any:
        jnp, sigmoid = self.jnp, self.jax.nn.sigmoid
        outside = x.swapaxes(0, 1) @ p["weight_ih_l0"].T + p["bias_ih_l0"] + p["bias_hh_l0"]

        def step(carry: Any, of_input: Any) -> Any:
            hidden, cell = carry
            i, f, g, o = jnp.split(of_input + hidden @ p["weight_hh_l0"].T, 4, axis=-1)
            cell = sigmoid(f) * cell + sigmoid(i) * jnp.tanh(g)
            hidden = sigmoid(o) * jnp.tanh(cell)
            return (hidden, cell), hidden

        start = jnp.zeros((x.shape[0], layer.hidden), x.dtype)
        return self.jax.lax.scan(step, (start, start), outside)[1].swapaxes(0, 1)

    def encoder(self, layer: Encoder, p: Any, x: Any) -> Any:
        jnp, rows = self.jnp, x.shape[0]
        size = layer.width // layer.heads
        joined = x @ p["self_attn.in_proj_weight"].T + p["self_attn.in_proj_bias"]
        q, k, v = (
            part.reshape(rows, layer.length, layer.heads, size) for part in jnp.split(joined, 3, axis=-1)
        )
        weights = self.jax.nn.softmax(jnp.einsum("nqhd,nkhd->nhqk", q, k) / size**0.5)
        seen = jnp.einsum("nhqk,nkhd->nqhd", weights, v).reshape(x.shape)
        x = x + seen @ p["self_attn.out_proj.weight"].T + p["self_attn.out_proj.bias"]
        x = self.normed(x, p["norm1.weight"], p["norm1.bias"])
        inner = self.jax.nn.relu(x @ p["linear1.weight"].T + p["linear1.bias"])
        x = x + inner @ p["linear2.weight"].T + p["linear2.bias"]
        return self.normed(x, p["norm2.weight"], p["norm2.bias"])
