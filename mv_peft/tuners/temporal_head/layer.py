"""The transformer over frame embeddings, and the projection that it stands behind."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..base.layer import AdaptedModule, cannot_merge
from ..mv_adapter.temporal import TransformerBlock


class TemporalHead(nn.Module):
    """The transformer over frame embeddings.

    Args:
        dim: Width of the embeddings.
        num_layers: Layers.
        num_heads: Heads of the attention, dividing `dim`.
        max_frames: The most frames a video may have.
    """

    def __init__(self, dim: int, num_layers: int, num_heads: int, max_frames: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.empty(max_frames, dim))
        self.layers = nn.ModuleList([TransformerBlock(dim, num_heads) for _ in range(num_layers)])

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """The frames as they see each other, (batch, frames, dim); frame_mask, bool (batch, frames).

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
        """No block adds anything: with positions of zero the identity."""
        nn.init.normal_(self.positions, std=position_init_std)
        for layer in self.layers:
            layer.reset_parameters(self.positions.shape[1])
            for linear in (layer.attention.out_proj, layer.fc2):
                nn.init.zeros_(linear.weight)
                nn.init.zeros_(linear.bias)

    @torch.no_grad()
    def copy_text_encoder(self, text_model: nn.Module) -> None:
        """CLIP4Clip's start: the first layers and positions of CLIP's text encoder."""
        embeddings = _inner(_inner(text_model.embeddings).position_embedding)
        self.positions.copy_(embeddings.weight[: len(self.positions)])
        for own, theirs in zip(self.layers, text_model.encoder.layers, strict=False):
            theirs = _inner(theirs)
            mlp = _inner(theirs.mlp)
            projections = [_inner(getattr(theirs.self_attn, f"{name}_proj")) for name in "qkv"]
            for kind in ("weight", "bias"):
                joint = torch.cat([getattr(projection, kind) for projection in projections])
                getattr(own.attention.in_proj, kind).copy_(joint)
                for ours, base in (
                    (own.attention.out_proj, theirs.self_attn.out_proj),
                    (own.attention_norm, theirs.layer_norm1),
                    (own.mlp_norm, theirs.layer_norm2),
                    (own.fc1, mlp.fc1),
                    (own.fc2, mlp.fc2),
                ):
                    getattr(ours, kind).copy_(getattr(_inner(base), kind))


def _inner(module: nn.Module) -> nn.Module:
    """CLIP's own module under whatever PEFT has put around it."""
    while not isinstance(module, (nn.Linear, nn.LayerNorm, nn.Embedding)):
        inner = getattr(module, "base_layer", None)
        if inner is None:
            inner = getattr(module, "original_module", None)
        if inner is None:
            break
        module = inner
    return module


class HeadedProjection(AdaptedModule):
    """CLIP's `visual_projection` with temporal heads behind it, before the frames are pooled."""

    adapter_layer_names = ("temporal_head_block",)
    cannot_merge = cannot_merge("A temporal head")

    def forward(self, pooled: Tensor) -> Tensor:
        """Embeddings of frames, (batch, frames, dim), of the pooled output of the vision model, zero in padded frames.

        Images, (batch, dim), are videos of one frame.
        """
        embeds = self.base_layer(pooled)
        blocks = self.active_blocks().values()
        if not blocks:
            return embeds
        frame_mask = (pooled != 0).any(dim=-1) if pooled.dim() == 3 else pooled.new_ones(len(pooled), 1).bool()
        frames = result = embeds.reshape(*frame_mask.shape, -1)
        for block in blocks:
            result = result + (self.run(block, frames, frame_mask) - frames) / 2
        return result.reshape(embeds.shape)
