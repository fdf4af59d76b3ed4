"""Programs spoiled at random, the same ones for the same seed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_TOKEN = re.compile(r'"[^"\n]*"|[A-Za-z_]\w*|[0-9][0-9_.e]*|\s+|.')
POOL = (
    "0 1 2 -1 3.5 1e-9 1e300 1000000000 99999999999999999999 n inf none true all x target input param grad step shape "
    'auto full ( ) [ ] { } , ; : = == < <= + - * / % @ ^ . ... ? <- # " \n if then else and or not '
    "net data train layer fn optimizer metric import const return require repeat residual shortcut sequential concat "
    "branch buffer state total linear(3) relu conv2d(4,3) flatten dropout max_pool2d(2) batch_norm2d batch_norm1d "
    "layer_norm softmax unflatten(1,[1,8,8]) rand(9) randn(4,1000000000) one_hot(x,100000000) sum(x) mean(x,dim=0) "
    "reshape(x,[n,3]) transpose(x,0,1) permute(x,[1,0]) concat([x,x],1) pad(x,[0,1],[0,1]) window(x,[1],[2]) x[0] "
    "x[:,0] x[:,::2] x.T x.shape x.rank len(x.shape) product([2,3]) repeated([1],9999) iota([3]) where(x>0,x,0) "
    'einsum("ij,kj->ik",x,x) broadcast_to(0,[n,9]) count(x) is_list(x) categories(x) standardize(x) csv("data/wine.csv") '
    'npy("data/none.npy") "text" mse_loss() cross_entropy_loss() adam sgd(lr=1) accuracy r2 clip_norm(1) early_stop(3) '
    "10^9 2^62 1/0 0*inf x@x x^x argmax(x) max(x) stop_gradient(x) float(x) int64(x) float64(x) training epoch"
).split(" ")
SIGNS = "abnx019 ()[]{}=<>-+*/^%@.,;:?\"#_\n\t'\\é\u2212\0"


def mutated(rng: random.Random, text: str) -> str:
    """The text with one to four changes: of characters, of tokens, of lines."""
    for _ in range(rng.choice([1, 1, 1, 2, 3, 4])):
        text = rng.choice(_CHANGES)(rng, text)
    return text


def _characters(rng: random.Random, text: str) -> str:
    return _changed(rng, list(text), SIGNS)


def _tokens(rng: random.Random, text: str) -> str:
    return _changed(rng, _TOKEN.findall(text), POOL)


def _lines(rng: random.Random, text: str) -> str:
    return _changed(rng, text.splitlines(keepends=True), POOL)


def _blocks(rng: random.Random, text: str) -> str:
    """A piece of the text moved or copied elsewhere."""
    a, b = sorted(rng.choices(range(len(text) + 1), k=2))
    piece = text[a : min(b, a + 200)]
    rest = text if rng.random() < 0.5 else text[:a] + text[a + len(piece) :]
    at = rng.randrange(len(rest) + 1)
    return rest[:at] + piece + rest[at:]


_NUMBERS = "0 1 2 3 7 64 -1 0.5 2.5 1e300 10^9 100000 2^31 99999999 n [2,2] [1,8,8] none true [] inf -3 x 1/3".split()
_STAGES = (
    "linear(10) ; linear(10,10) ; linear(-1) ; linear(100000) ; linear(0) ; relu ; flatten ; "
    "flatten(start_dim=0) ; dropout(0.5) ; softmax ; conv2d(4,3) ; conv2d(4,[9,1]) ; conv2d(4,3,stride=0) ; "
    'conv2d(4,3,stride=[1,2]) ; conv2d(4,3,padding=-1) ; conv2d(4,3,groups=2) ; conv2d(4,3,padding="same") ; '
    "conv2d(4,3,dilation=100000) ; max_pool2d(2) ; max_pool2d(0) ; avg_pool2d(3,padding=1) ; batch_norm1d ; "
    "batch_norm2d ; layer_norm ; layer_norm(3) ; identity ; unflatten(1,[2,-1]) ; unflatten(7,[2,2]) ; "
    "log_softmax(dim=9) ; repeat 3 { relu } ; repeat 100000 { linear(10) } ; residual { relu } ; residual { "
    "linear(3) } ; residual { } shortcut { linear(2) } ; concat(1) { branch { relu } branch { tanh } } ; "
    "concat(0) { branch { relu } branch { } } ; concat(3) { } ; sequential { } ; y = x ; reshape([n,9]) ; "
    "reshape([9]) ; permute([1,0]) ; sum ; mean(dim=0) ; max(dim=1) ; argmax ; one_hot(10) ; int64 ; float64 "
    "; pad([0,100000000],[0,0]) ; window([1],[2]) ; broadcast_to([n,2,3]) ; return x ; return relu(x) ; "
    "transpose(0,1) ; where(x>0) ; count ; concat([x,x],1) ; cross_entropy_loss(x) ; mse_loss(x) ; uniform ; "
    "linear(linear) ; linear(relu(x)) ; linear(x.shape[1]) ; linear(x.shape[0]) ; sin ; tanh ; exp ; sigmoid "
    "; stop_gradient ; rand ; iota ; x[0] ; gelu(approximate=3) ; elu(alpha=x)"
).split(" ; ")


def _meaning(rng: random.Random, text: str) -> str:
    """A number for a number, a name for a name, a stage for a stage: changes that still parse, mostly."""
    kind = rng.randrange(3)
    if kind == 2:
        lines = text.splitlines(keepends=True)
        stages = [i for i, line in enumerate(lines) if re.match(r"    [a-z_0-9]+(\(.*\))?$", line)]
        if stages:
            i = rng.choice(stages)
            lines[i] = "    " + rng.choice(_STAGES) + "\n"
        return "".join(lines)
    parts = _TOKEN.findall(text)
    pattern = r"[0-9]" if kind else r"[a-z]"
    places = [i for i, p in enumerate(parts) if re.match(pattern, p)]
    if places:
        parts[rng.choice(places)] = rng.choice(_NUMBERS) if kind else parts[rng.choice(places)]
    return "".join(parts)


_CHANGES: list[Callable[[random.Random, str], str]] = [
    _characters,
    _tokens,
    _tokens,
    _meaning,
    _meaning,
    _meaning,
    _lines,
    _blocks,
]


def _changed(rng: random.Random, parts: list[str], pool: str | list[str]) -> str:
    if not parts:
        return rng.choice(pool)
    i, j = rng.randrange(len(parts)), rng.randrange(len(parts))
    kind = rng.randrange(5)
    if kind == 0:
        del parts[i]
    elif kind == 1:
        parts.insert(i, parts[i])
    elif kind == 2:
        parts[i], parts[j] = parts[j], parts[i]
    elif kind == 3:
        parts[i] = rng.choice(pool)
    else:
        parts.insert(i, rng.choice(pool))
    return "".join(parts)
