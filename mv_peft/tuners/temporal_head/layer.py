"""The transformer over the embeddings of frames, and the pooling that it stands before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...encoders.families import ModelTower
from ..base.layer import AdaptedModule, merge_refusal
from ..mv_adapter.temporal import TransformerBlock


class TemporalHead(nn.Module):
    """The transformer over frame embeddings.

    Args:
        dim: Width of the embeddings.
        num_layers: Number of layers.
        num_heads: Heads of the attention, dividing `dim`.
        max_frames: The most frames a video may have.
    """

    def __init__(self, dim: int, num_layers: int, num_heads: int, max_frames: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.empty(max_frames, dim))
        self.layers = nn.ModuleList([TransformerBlock(dim, num_heads) for _ in range(num_layers)])

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """Let frames see each other, (batch, frames, dim); frame_mask, bool (batch, frames).

        Raises:
            ValueError: For more than `max_frames` frames.
        """
        num_frames, max_frames = frames.shape[1], len(self.positions)
        if num_frames > max_frames:
            raise ValueError(
                f"The videos have {num_frames} frames, this head takes at most `max_frames` = {max_frames}. "
                f"Sample {max_frames} frames, or train a head with a larger `max_frames`."
            )
        z = frames + self.positions[:num_frames]
        for layer in self.layers:
            z = layer(z, key_mask=frame_mask)
        return z

    def reset_parameters(self, position_init_std: float) -> None:
        """Start with blocks that add nothing: with positions of zero the head is the identity."""
        nn.init.normal_(self.positions, std=position_init_std)
        for layer in self.layers:
            layer.reset_parameters(self.positions.shape[1])
            for linear in (layer.attention.out_proj, layer.fc2):
                nn.init.zeros_(linear.weight)
                nn.init.zeros_(linear.bias)

    @torch.no_grad()
    def copy_text_encoder(self, tower: ModelTower) -> None:
        """Start as CLIP4Clip does, with the first layers and positions of the text encoder."""
        names = tower.names.layer
        positions = _base_module(_base_module(tower.module.embeddings).position_embedding)
        self.positions.copy_(positions.weight[: len(self.positions)])
        for ours, theirs in zip(self.layers, tower.layers, strict=False):
            found = {name: _find(theirs, name) for name in (*names.linear, *names.norms)}
            for kind in ("weight", "bias"):
                joint = torch.cat([getattr(found[name], kind) for name in (names.query, names.key, names.value)])
                getattr(ours.attention.in_proj, kind).copy_(joint)
                for target, name in (
                    (ours.attention.out_proj, names.attention_out),
                    (ours.attention_norm, names.norms[0]),
                    (ours.mlp_norm, names.norms[1]),
                    (ours.fc1, names.mlp_in),
                    (ours.fc2, names.mlp_out),
                ):
                    getattr(target, kind).copy_(getattr(found[name], kind))


def _find(layer: nn.Module, name: str) -> nn.Module:
    """Find the module of the base model under its name in an encoder layer, whatever PEFT has put around it."""
    module = _base_module(layer)
    for part in name.split("."):
        module = _base_module(getattr(module, part))
    return module


def _base_module(module: nn.Module) -> nn.Module:
    while True:
        inner = getattr(module, "base_layer", None)
        inner = getattr(module, "original_module", None) if inner is None else inner
        if not isinstance(inner, nn.Module):
            return module
        module = inner


class HeadedPooling(AdaptedModule):
    """The pooling of frames with temporal heads before it."""

    adapter_layer_names = ("temporal_head_block",)
    merge_refusal = merge_refusal("A temporal head")

    def refine(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """Let frames see each other, each changed by the mean of what was and what the head says."""
        result = frames
        for block in self.active_blocks().values():
            result = result + (self.run(block, frames, frame_mask) - frames) / 2
        return result

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """Pool the embeddings of frames, as `MeanOfFrames` does, after the heads."""
        return self.base_layer(self.refine(frames, frame_mask), frame_mask)
