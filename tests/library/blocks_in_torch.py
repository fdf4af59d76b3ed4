"""The library's blocks written in torch, with the same names of parameters. Imported where references are made."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv_norm(inner: int, outer: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outer))


class Bottleneck(nn.Module):
    """Torchvision's, whose ``downsample`` is called ``shortcut`` here."""

    def __init__(
        self, inner: int, planes: int, stride: int = 1, groups: int = 1, base: int = 64, dilation: int = 1
    ) -> None:
        super().__init__()
        width = int(planes * base / 64) * groups
        self.conv1 = nn.Conv2d(inner, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        same = stride == 1 and inner == 4 * planes
        self.shortcut = nn.Identity() if same else conv_norm(inner, 4 * planes, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = F.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(mean))))


class DepthwiseSeparable(nn.Module):
    def __init__(self, inner: int, outer: int, *sizes: int, bias: bool = True) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inner, inner, *sizes, groups=inner, bias=bias)
        self.pointwise = nn.Conv2d(inner, outer, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class InvertedResidual(nn.Module):
    def __init__(self, inner: int, outer: int, stride: int = 1, ratio: float = 6) -> None:
        super().__init__()
        hidden = round(inner * ratio)
        self.expand = nn.Identity() if ratio == 1 else conv_norm(inner, hidden, 1)
        self.depthwise = conv_norm(hidden, hidden, 3, stride, hidden)
        self.project = conv_norm(hidden, outer, 1)
        self.expands = ratio != 1
        self.same = stride == 1 and inner == outer

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.expand(x)) if self.expands else x
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.same else y


class MLP(nn.Module):
    def __init__(
        self, inner: int, widths: list[int], activation: nn.Module, p: float = 0, bias: bool = True
    ) -> None:
        super().__init__()
        inputs = [inner, *widths]
        self.layers = nn.ModuleList(nn.Linear(a, b, bias) for a, b in zip(inputs, widths, strict=False))
        self.activation, self.p = activation, p

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            x = self.activation(x) if i < len(self.layers) - 1 else x
            x = F.dropout(x, self.p, self.training)
        return x


class TCNBlock(nn.Module):
    """The block of Bai and others (2018) as they wrote it, without weight norm: what padding adds behind is cut off."""

    def __init__(self, inner: int, outer: int, kernel: int, dilation: int = 1, p: float = 0.2) -> None:
        super().__init__()
        self.past, self.p = dilation * (kernel - 1), p
        self.conv1 = nn.Conv1d(inner, outer, kernel, padding=self.past, dilation=dilation)
        self.conv2 = nn.Conv1d(outer, outer, kernel, padding=self.past, dilation=dilation)
        self.shortcut = nn.Identity() if inner == outer else nn.Conv1d(inner, outer, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for conv in (self.conv1, self.conv2):
            y = F.dropout(F.relu(conv(y)[..., : x.shape[2]]), self.p, self.training)
        return F.relu(y + self.shortcut(x))


class MixerBlock(nn.Module):
    def __init__(self, tokens: int, channels: int, tokens_dim: int, channels_dim: int, p: float = 0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.token_mixing = MLP(tokens, [tokens_dim, tokens], nn.GELU(), p)
        self.norm2 = nn.LayerNorm(channels)
        self.channel_mixing = MLP(channels, [channels_dim, channels], nn.GELU(), p)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.token_mixing(self.norm1(x).mT).mT
        return x + self.channel_mixing(self.norm2(x))


class PatchEmbedding(nn.Module):
    def __init__(self, inner: int, features: int, patch: int, token: bool = False) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, features)) if token else None
        self.proj = nn.Conv2d(inner, features, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        y = self.proj(x).flatten(2).mT
        if self.class_token is None:
            return y
        return torch.cat([self.class_token.expand(len(x), -1, -1), y], 1)
