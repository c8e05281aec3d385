"""Temporal Adaptation of MV-Adapter, arXiv 2301.07868: how frames see each other, and the small transformer.

Of each frame f the adapter keeps two bottleneck vectors: c_f, of its [CLS] token, and q_f, the mean of its patches.

    [t_0, t_c, t_q] = QuickGELU(TRM(LN([cc, c_1..c_F, q_1..q_F] + pos)))      keys of padded frames masked
    a_f     = [t_c,f + t_q,f,  G t_0 + g] * frame_mask_f
    alpha_f = A2 ReLU(A1 a_f + a1) + 1                                        frame-wise calibration
    result  = alpha_f * t_c,f                                                 what the up-projection gets for [CLS]

| ours                              | paper                                             |
|-----------------------------------|---------------------------------------------------|
| `SequenceTransformer`             | TRM with its positions, both branches             |
| `TemporalAdaptation.token`        | cc, the token that stands for the whole video     |
| `TemporalAdaptation.calibration`  | the calibration of the up-projection, frame by frame |
| `FrameCalibration.context`        | G, g                                              |
| `FrameCalibration.hidden`, `.out` | A1, a1 and A2                                     |

Shapes: batch B, frames F, bottleneck width d.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def quick_gelu(x: Tensor) -> Tensor:
    """The adapter's activation, x * sigmoid(1.702 x), whatever the tower around it uses."""
    return x * torch.sigmoid(1.702 * x)


class SelfAttention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values, in that order."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj = nn.Linear(dim, 3 * dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, key_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Attend over x, (batch, tokens, dim); `key_mask` bool (batch, tokens), False hides a key from every query."""
        query, key, value = self.in_proj(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if key_mask is None else key_mask[:, None, None, :]
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=is_causal)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """The small pre-norm transformer block (TRM): attention, then an MLP of ratio 4 with QuickGELU."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, num_heads)
        self.mlp_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, key_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Transform x, (batch, tokens, dim), under masks as in `SelfAttention`."""
        x = x + self.attention(self.attention_norm(x), key_mask, is_causal)
        return x + self.fc2(quick_gelu(self.fc1(self.mlp_norm(x))))

    def reset_parameters(self, model_dim: int) -> None:
        """Start as the authors do, with standard deviations from the tower's width, not from the block's."""
        nn.init.normal_(self.attention.in_proj.weight, std=model_dim**-0.5)
        for linear in (self.attention.out_proj, self.fc1, self.fc2):
            nn.init.normal_(linear.weight, std=(2 * model_dim) ** -0.5)
        nn.init.zeros_(self.attention.in_proj.bias)
        nn.init.zeros_(self.attention.out_proj.bias)


class SequenceTransformer(nn.Module):
    """Learned positions, LayerNorm, one small transformer block and QuickGELU.

    Args:
        num_positions: Length of the longest sequence.
        dim: Width of the sequence.
        num_heads: Heads of the block's attention; divides `dim`.
    """

    def __init__(self, num_positions: int, dim: int, num_heads: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.empty(num_positions, dim))
        self.norm = nn.LayerNorm(dim)
        self.block = TransformerBlock(dim, num_heads)

    def forward(self, x: Tensor, positions: Tensor, key_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Transform x, (batch, tokens, dim), given the positions of these tokens, (tokens, dim)."""
        return quick_gelu(self.block(self.norm(x + positions), key_mask, is_causal))

    def reset_parameters(self, model_dim: int, position_init_std: float) -> None:
        """Draw positions with the given standard deviation, and the block as the tower's width asks for."""
        nn.init.normal_(self.positions, std=position_init_std)
        self.block.reset_parameters(model_dim)


class FrameCalibration(nn.Module):
    """A factor for each frame and channel that scales what the up-projection gets; 1 at the start.

    Args:
        dim: Bottleneck width d.
        hidden_dim: Width of the hidden layer (16 in every published setting).
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.context = nn.Linear(dim, dim)
        self.hidden = nn.Linear(2 * dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, frames: Tensor, token: Tensor, frame_mask: Tensor) -> Tensor:
        """Give alpha, (B, F, d), for the sum of both halves of the frames, (B, F, d), and the token, (B, d)."""
        context = self.context(token)[:, None].expand_as(frames)
        features = torch.cat([frames, context], dim=-1) * frame_mask[..., None].to(frames.dtype)
        return self.out(F.relu(self.hidden(features))) + 1


class TemporalAdaptation(nn.Module):
    """Lets the frames of a video see each other, in 2F + 1 tokens of the bottleneck's width.

    Args:
        max_frames: The most frames a video may have.
        dim: Bottleneck width d.
        num_heads: Heads of the small transformer.
        calibration_dim: Hidden width of the frame-wise calibration; None: no calibration.
    """

    def __init__(self, max_frames: int, dim: int, num_heads: int, calibration_dim: int | None) -> None:
        super().__init__()
        self.max_frames = max_frames
        self.token = nn.Parameter(torch.empty(dim))
        self.sequence = SequenceTransformer(2 * max_frames + 1, dim, num_heads)
        self.calibration = None if calibration_dim is None else FrameCalibration(dim, calibration_dim)

    def forward(self, cls: Tensor, patch_means: Tensor, frame_mask: Tensor) -> Tensor:
        """Give what the up-projection gets for each frame's [CLS] token, or for what stands for it.

        Args:
            cls: [CLS] of each frame in the bottleneck, (B, F, d).
            patch_means: Mean of the patches of each frame, (B, F, d).
            frame_mask: True on real frames, (B, F). Padded frames are seen by no other.

        Returns:
            (B, F, d).
        """
        batch, frames, _ = cls.shape
        x = torch.cat([self.token.expand(batch, 1, -1), cls, patch_means], dim=1)  # (B, 2F + 1, d)
        # The patch means keep their rows however far the batch is padded: row 1 + max_frames + f.
        rows = self.sequence.positions
        positions = torch.cat([rows[: 1 + frames], rows[1 + self.max_frames : 1 + self.max_frames + frames]])
        key_mask = torch.cat([frame_mask.new_ones(batch, 1), frame_mask, frame_mask], dim=1)
        x = self.sequence(x, positions, key_mask=key_mask)
        token, cls, patch_means = x[:, 0], x[:, 1 : 1 + frames], x[:, 1 + frames :]
        if self.calibration is None:
            return cls
        return self.calibration(cls + patch_means, token, frame_mask) * cls

    def reset_parameters(self, model_dim: int, position_init_std: float) -> None:
        """Start as the authors do: the token normal with std d^-0.5, calibration exactly 1."""
        nn.init.normal_(self.token, std=self.token.shape[-1] ** -0.5)
        self.sequence.reset_parameters(model_dim, position_init_std)
        if self.calibration is not None:
            nn.init.zeros_(self.calibration.out.weight)
