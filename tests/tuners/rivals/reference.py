"""CLIP's encoders and the baselines inside them, slowly, from the formulas: one video or caption, nothing padded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Step = Callable[[int, Tensor], Tensor]


def gelu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-1.702 * x))


def norm(x: Tensor, layer_norm: nn.LayerNorm) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + layer_norm.eps) * layer_norm.weight + layer_norm.bias


def attend(query: Tensor, key: Tensor, value: Tensor, num_heads: int, causal: bool) -> Tensor:
    """Softmax attention of one sequence, (tokens, dim), query by query."""
    width = query.shape[1] // num_heads
    rows = []
    for i in range(len(query)):
        seen = i + 1 if causal else len(key)
        heads = []
        for h in range(num_heads):
            part = slice(h * width, (h + 1) * width)
            weights = torch.softmax(key[:seen, part] @ query[i, part] / width**0.5, dim=0)
            heads.append(weights @ value[:seen, part])
        rows.append(torch.cat(heads))
    return torch.stack(rows)


def encoder_layer(layer: nn.Module, x: Tensor, causal: bool, beside: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """One of CLIP's layers on one sequence; `beside` gives what is added to the MLP, from its input and output."""
    attention, y = layer.self_attn, norm(x, layer.layer_norm1)
    query, key, value = (getattr(attention, f"{name}_proj")(y) for name in "qkv")
    h = x + attention.out_proj(attend(query, key, value, attention.num_heads, causal))
    y = norm(h, layer.layer_norm2)
    m = layer.mlp.fc2(gelu(layer.mlp.fc1(y)))
    return h + m + beside(y, m)


def encode(layers: Any, x: Tensor, causal: bool, *, before: Step, prompts: Any, beside: Any) -> Tensor:
    """Sequences, (number, tokens, dim), through the layers."""
    for index, layer in enumerate(layers):
        x = before(index, x)
        added = prompts(index)
        rows = []
        for row in x:
            row = torch.cat([row[:1], added, row[1:]])
            row = encoder_layer(layer, row, causal, lambda y, m, index=index: beside(index, y, m))
            rows.append(torch.cat([row[:1], row[1 + len(added) :]]))
        x = torch.stack(rows)
    return x


def frame_embeddings(clip: nn.Module, frames: Tensor, **steps: Any) -> Tensor:
    """What CLIP's projection makes of each frame of a video."""
    vision = clip.vision_model
    x = norm(vision.embeddings(frames), vision.pre_layrnorm)
    x = encode(vision.encoder.layers, x, False, **steps)
    return norm(x[:, 0], vision.post_layernorm) @ clip.visual_projection.weight.T


def video_embedding(frames: Tensor) -> Tensor:
    """The embedding of a video from its frames'."""
    mean = (frames / frames.norm(dim=-1, keepdim=True)).mean(0)
    return mean / mean.norm()


def text_embedding(clip: nn.Module, ids: Tensor, **steps: Any) -> Tensor:
    """The embedding of a caption that ends with its end token."""
    text = clip.text_model
    x = text.embeddings.token_embedding(ids) + text.embeddings.position_embedding.weight[: len(ids)]
    x = encode(text.encoder.layers, x[None], True, **steps)
    embedding = norm(x[0, -1], text.final_layer_norm) @ clip.text_projection.weight.T
    return embedding / embedding.norm()


def bottleneck(x: Tensor, down: nn.Linear, up: nn.Linear, activation: Any, scaling: float) -> Tensor:
    return scaling * (activation(x @ down.weight.T + down.bias) @ up.weight.T + up.bias)


def temporal_convolution(u: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """U (frames, tokens, dim), weight (kernel_size, dim): each output by itself."""
    num_frames, kernel_size = len(u), len(weight)
    outputs = []
    for t in range(num_frames):
        output = bias.expand(u.shape[1:])
        for k in range(kernel_size):
            source = t + k - kernel_size // 2
            if 0 <= source < num_frames:
                output = output + weight[k] * u[source]
        outputs.append(output)
    return torch.stack(outputs)


def st_adapter(x: Tensor, block: Any) -> Tensor:
    """The input of a vision layer, (frames, tokens, dim), behind an ST-Adapter."""
    patches = x[:, 1:]
    u = patches @ block.down.weight.T + block.down.bias
    u = gelu(temporal_convolution(u, block.convolution.weight, block.convolution.bias))
    return torch.cat([x[:, :1], patches + u @ block.up.weight.T + block.up.bias], dim=1)


def temporal_head(frames: Tensor, head: Any) -> Tensor:
    """CLIP4Clip's head on frame embeddings, (frames, dim), in its own words: the sum of input and output."""
    z = frames + head.positions[: len(frames)]
    for layer in head.layers:
        query, key, value = layer.attention.in_proj(norm(z, layer.attention_norm)).chunk(3, dim=-1)
        z = z + layer.attention.out_proj(attend(query, key, value, layer.attention.num_heads, False))
        z = z + layer.fc2(gelu(layer.fc1(norm(z, layer.mlp_norm))))
    return frames + z


def nothing_before(index: int, x: Tensor) -> Tensor:
    return x


def nothing_beside(index: int, y: Tensor, m: Tensor) -> Tensor:
    return torch.zeros_like(m)


def no_prompts(dim: int) -> Callable[[int], Tensor]:
    return lambda index: torch.zeros(0, dim)


def relu(x: Tensor) -> Tensor:
    return F.relu(x)
