"""The method once more, slowly: loops over videos, frames, heads and tokens, straight from the equations.

Shares nothing with mv_peft but the parameters. Written for reading; see `test_reference.py`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    mean = x.mean()
    variance = ((x - mean) ** 2).mean()
    return (x - mean) / torch.sqrt(variance + 1e-5) * norm.weight + norm.bias


def quick_gelu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-1.702 * x))


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    return layer.weight @ x + (0 if layer.bias is None else layer.bias)


def transformer(z: list[Tensor], block: nn.Module, heads: int, visible: list[list[bool]]) -> list[Tensor]:
    """visible[i][j]: may token i see token j."""
    dim = len(z[0])
    width = dim // heads
    normed = [layer_norm(token, block.attention_norm) for token in z]
    projected = [linear(token, block.attention.in_proj) for token in normed]
    query, key, value = ([p[part * dim : (part + 1) * dim] for p in projected] for part in range(3))
    attended = []
    for i in range(len(z)):
        parts = []
        for head in range(heads):
            at = slice(head * width, (head + 1) * width)
            seen = [j for j in range(len(z)) if visible[i][j]]
            scores = torch.stack([query[i][at] @ key[j][at] / math.sqrt(width) for j in seen])
            weights = scores.exp() / scores.exp().sum()
            parts.append(sum(weight * value[j][at] for weight, j in zip(weights, seen, strict=True)))
        attended.append(z[i] + linear(torch.cat(parts), block.attention.out_proj))
    return [
        token + linear(quick_gelu(linear(layer_norm(token, block.mlp_norm), block.fc1)), block.fc2)
        for token in attended
    ]


def tied_weights(adapter: nn.Module, factor: Tensor | None) -> tuple[Tensor, Tensor]:
    down, up = adapter.down.weight, adapter.up.weight
    if adapter.tying is None:
        return down, up
    beta = adapter.tying.projection.weight @ factor + adapter.tying.projection.bias
    position = adapter.tying.position
    if position == "down_in":
        down = torch.stack([down[:, i] * beta[i] for i in range(len(beta))], dim=1)
    elif position == "down_out":
        down = torch.stack([down[i] * beta[i] for i in range(len(beta))])
    elif position == "up_in":
        up = torch.stack([up[:, i] * beta[i] for i in range(len(beta))], dim=1)
    else:
        up = torch.stack([up[i] * beta[i] for i in range(len(beta))])
    return down, up


def text_adapter(m: Tensor, adapter: nn.Module, heads: int, scaling: float, factor: Tensor | None) -> Tensor:
    """m: (captions, tokens, D)."""
    down, up = tied_weights(adapter, factor)
    captions = []
    for caption in m:
        u = []
        for position, token in enumerate(caption):
            if adapter.pre_norm is not None:
                token = layer_norm(token, adapter.pre_norm)
            bottleneck = down @ token + adapter.down.bias
            u.append(layer_norm(bottleneck + adapter.sequence.positions[position], adapter.sequence.norm))
        causal = [[j <= i for j in range(len(u))] for i in range(len(u))]
        u = [quick_gelu(token) for token in transformer(u, adapter.sequence.block, heads, causal)]
        captions.append(torch.stack([scaling * (up @ token + adapter.up.bias) for token in u]))
    return torch.stack(captions)


def video_adapter(
    m: Tensor,
    frame_mask: Tensor,
    adapter: nn.Module,
    heads: int,
    max_frames: int,
    scaling: float,
    factor: Tensor | None,
) -> Tensor:
    """m: (videos * frames, tokens, D); frame_mask: (videos, frames)."""
    down, up = tied_weights(adapter, factor)
    videos, frames = frame_mask.shape
    out = []
    for video in range(videos):
        cls, patches = [], []
        for frame in range(frames):
            tokens = []
            for token in m[video * frames + frame]:
                if adapter.pre_norm is not None:
                    token = layer_norm(token, adapter.pre_norm)
                tokens.append(quick_gelu(down @ token + adapter.down.bias))
            cls.append(tokens[0])
            patches.append(tokens[1:])
        if adapter.temporal is not None:
            cls = adapt_over_time(cls, patches, frame_mask[video], adapter.temporal, heads, max_frames)
        for frame in range(frames):
            first = scaling * (up @ cls[frame] + adapter.up.bias)
            rest = [scaling * (adapter.up.weight @ token + adapter.up.bias) for token in patches[frame]]
            out.append(torch.stack([first, *rest]))
    return torch.stack(out)


def adapt_over_time(
    cls: list[Tensor], patches: list[list[Tensor]], mask: Tensor, temporal: nn.Module, heads: int, max_frames: int
) -> list[Tensor]:
    frames = len(cls)
    positions, norm = temporal.sequence.positions, temporal.sequence.norm
    means = [sum(tokens) / len(tokens) for tokens in patches]
    sequence = [layer_norm(temporal.token + positions[0], norm)]
    sequence += [layer_norm(cls[f] + positions[1 + f], norm) for f in range(frames)]
    sequence += [layer_norm(means[f] + positions[1 + max_frames + f], norm) for f in range(frames)]
    key_visible = [True, *(bool(x) for x in mask), *(bool(x) for x in mask)]
    visible = [key_visible] * len(sequence)
    result = [quick_gelu(token) for token in transformer(sequence, temporal.sequence.block, heads, visible)]
    token, t_cls, t_means = result[0], result[1 : 1 + frames], result[1 + frames :]
    if temporal.calibration is None:
        return t_cls
    adapted = []
    for f in range(frames):
        a = torch.cat([t_cls[f] + t_means[f], linear(token, temporal.calibration.context)]) * mask[f]
        alpha = linear(torch.relu(linear(a, temporal.calibration.hidden)), temporal.calibration.out) + 1
        adapted.append(alpha * t_cls[f])
    return adapted


def similarity(frames: Tensor, captions: Tensor, frame_mask: Tensor, logit_scale: Tensor) -> Tensor:
    """Logits (captions, videos) from raw frame embeddings (videos, frames, dim) and caption embeddings."""
    rows = []
    for caption in captions:
        row = []
        for video, mask in zip(frames, frame_mask, strict=True):
            real = [frame / frame.norm() for frame, is_real in zip(video, mask, strict=True) if is_real]
            pooled = sum(real) / len(real)
            row.append(logit_scale.exp() * (caption / caption.norm()) @ (pooled / pooled.norm()))
        rows.append(torch.stack(row))
    return torch.stack(rows)
