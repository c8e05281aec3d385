"""The two adapters of MV-Adapter (arXiv 2301.07868), one on the output of every MLP of each tower.

    video:  u = QuickGELU(W_down m + b_down)                     every token of every frame
            delta[CLS]  = s (W_up TemporalAdaptation(u) + b_up)
            delta patch = s (W_up u + b_up)
    text:   u = W_down m + b_down
            delta       = s (W_up QuickGELU(TRM(LN(u + pos), mask)) + b_up)

In tied layers W_down or W_up is scaled (`tying.py`); a tied W_up serves [CLS] only in the video branch.
All up-projections start at zero: a fresh adapter changes nothing.

The paper adapts CLIP, whose vision tower has a [CLS] token and whose text tower is causal. For towers that differ:

- Without [CLS] (SigLIP), the mean of a frame's patches takes its place in Temporal Adaptation, and what comes back is
  added to every patch: delta patch = s (W_up (u + TemporalAdaptation(mean of u)) + b_up). This is our extension. On
  rendered clips (synthetic, a tiny SigLIP, validation split) it was chosen over a learned query, which was level with
  it at more parameters, and over an adapter on the pooled token, which was 14.6 points of mean R@1 behind. On the test
  split it tells a clip from its reversal in 99.1% of the cases, 49.0% without Temporal Adaptation:
  `docs/results/siglip.md`.
- Where the text tower is not causal, neither is the adapter's attention; tokens that the tower hides as padding are
  hidden there, too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .temporal import SequenceTransformer, TemporalAdaptation, quick_gelu
from .tying import CrossModalityTying, TyingInit


class _Adapter(nn.Module):
    """The parts that both branches have: an optional LayerNorm, down- and up-projection, and tying."""

    def __init__(
        self,
        model_dim: int,
        bottleneck_dim: int,
        *,
        scaling: float,
        pre_norm: bool,
        tying: CrossModalityTying | None,
    ) -> None:
        super().__init__()
        self.scaling = scaling
        self.pre_norm = nn.LayerNorm(model_dim) if pre_norm else None
        self.down = nn.Linear(model_dim, bottleneck_dim)
        self.up = nn.Linear(bottleneck_dim, model_dim)
        self.tying = tying

    def _down(self, hidden: Tensor, factor: Tensor | None) -> Tensor:
        if self.pre_norm is not None:
            hidden = self.pre_norm(hidden)
        weight = self.down.weight
        if self.tying is not None and not self.tying.scales_up:
            weight = self.tying(weight, factor)
        return F.linear(hidden, weight, self.down.bias)

    def _up(self, bottleneck: Tensor, weight: Tensor) -> Tensor:
        # Scaled before the projection, where it costs d channels and not D.
        return F.linear(self.scaling * bottleneck, weight, self.scaling * self.up.bias)

    def _tied_up_weight(self, factor: Tensor | None) -> Tensor:
        if self.tying is not None and self.tying.scales_up:
            return self.tying(self.up.weight, factor)
        return self.up.weight

    def reset_parameters(self, *, tying_init: TyingInit, position_init_std: float) -> None:
        """Start as the authors do, with an up-projection of zero."""
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        if self.tying is not None:
            self.tying.reset_parameters(tying_init)

    def randomise_zeros(self) -> None:
        """Give the parameters that start at zero a random start, so that tests see an adapter with an effect."""
        for name, parameter in self.named_parameters():
            if name in ("up.weight", "up.bias", "down.bias") or name.endswith("calibration.out.weight"):
                nn.init.normal_(parameter, std=0.5)


class VideoAdapter(_Adapter):
    """The adapter of a vision layer: patches through the bottleneck, [CLS] tokens through Temporal Adaptation.

    There are ten arguments, because each is a number or a switch of the method's configuration.

    Args:
        model_dim: Width D of the vision tower.
        bottleneck_dim: Width d of the adapter.
        num_heads: Heads of the small transformer.
        max_frames: The most frames a video may have.
        scaling: Factor s on the adapter's output.
        class_token: Whether the first token of each frame is [CLS].
        pre_norm: A LayerNorm on the input.
        temporal_adaptation: False leaves out everything that lets frames see each other.
        calibration_dim: Hidden width of the frame-wise calibration; None: no calibration.
        tying: The layer's tie to a text layer, or None.
    """

    def __init__(
        self,
        model_dim: int,
        bottleneck_dim: int,
        *,
        num_heads: int,
        max_frames: int,
        scaling: float,
        class_token: bool = True,
        pre_norm: bool = False,
        temporal_adaptation: bool = True,
        calibration_dim: int | None = 16,
        tying: CrossModalityTying | None = None,
    ) -> None:
        super().__init__(model_dim, bottleneck_dim, scaling=scaling, pre_norm=pre_norm, tying=tying)
        self.max_frames = max_frames
        self.class_token = class_token
        self.temporal = (
            TemporalAdaptation(max_frames, bottleneck_dim, num_heads, calibration_dim) if temporal_adaptation else None
        )

    def forward(self, hidden: Tensor, frame_mask: Tensor, factor: Tensor | None = None) -> Tensor:
        """Give what is added to the MLP's output.

        Args:
            hidden: The MLP's output, (batch * frames, tokens, dim), [CLS] first where there is one.
            frame_mask: True on real frames, bool (batch, frames).
            factor: The shared factor of a tied layer, (factor_dim,).

        Raises:
            ValueError: For more than `max_frames` frames.
        """
        batch, frames = frame_mask.shape
        if frames > self.max_frames:
            raise ValueError(
                f"The videos have {frames} frames, this adapter takes at most `max_frames` = {self.max_frames}. "
                f"Sample {self.max_frames} frames, or train an adapter with a larger `max_frames`."
            )
        u = quick_gelu(self._down(hidden, factor))
        u = u.unflatten(0, (batch, frames))  # batch*frames tokens d -> batch frames tokens d
        if not self.class_token:
            return self._up_patches(u, frame_mask, factor).flatten(0, 1)
        cls, patches = u[:, :, 0], u[:, :, 1:]
        if self.temporal is not None:
            cls = self.temporal(cls, patches.mean(dim=2), frame_mask)
        cls = cls[:, :, None]
        if self.tying is not None and self.tying.scales_up:
            up = [self._up(cls, self._tied_up_weight(factor)), self._up(patches, self.up.weight)]
            return torch.cat(up, dim=2).flatten(0, 1)
        return self._up(torch.cat([cls, patches], dim=2), self.up.weight).flatten(0, 1)

    def _up_patches(self, patches: Tensor, frame_mask: Tensor, factor: Tensor | None) -> Tensor:
        """Project patches (batch, frames, patches, d) up, the signal of their frame added; where there is no [CLS]."""
        if self.temporal is None:
            return self._up(patches, self.up.weight)
        signal = self.temporal_signal(patches, frame_mask)[:, :, None]
        if self.tying is not None and self.tying.scales_up:
            # As with [CLS]: the tied matrix serves what stands for the frame, the plain one the patches.
            tied = F.linear(self.scaling * signal, self._tied_up_weight(factor))
            return self._up(patches, self.up.weight) + tied
        return self._up(patches + signal, self.up.weight)

    def temporal_signal(self, patches: Tensor, frame_mask: Tensor) -> Tensor:
        """Give what is added to all patches of a frame, (batch, frames, d), for patches (batch, frames, patches, d)."""
        assert self.temporal is not None
        frames = patches.mean(dim=2)
        return self.temporal(frames, frames, frame_mask)

    def reset_parameters(self, *, tying_init: TyingInit, position_init_std: float) -> None:
        """Start as the authors do for video: W_down Kaiming uniform with a = sqrt(5)."""
        super().reset_parameters(tying_init=tying_init, position_init_std=position_init_std)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        if self.temporal is not None:
            self.temporal.reset_parameters(self.down.in_features, position_init_std)


class TextAdapter(_Adapter):
    """The adapter of a text layer: a small transformer in the bottleneck, for every token.

    Args:
        model_dim: Width D of the text tower.
        bottleneck_dim: Width d of the adapter.
        num_heads: Heads of the small transformer.
        max_text_tokens: The most tokens a caption may have, [SOT] and [EOT] included.
        scaling: Factor s on the adapter's output.
        causal: Whether a token sees only itself and those before it, as in CLIP.
        pre_norm: A LayerNorm on the input.
        tying: The layer's tie to a vision layer, or None.
    """

    def __init__(
        self,
        model_dim: int,
        bottleneck_dim: int,
        *,
        num_heads: int,
        max_text_tokens: int,
        scaling: float,
        causal: bool = True,
        pre_norm: bool = False,
        tying: CrossModalityTying | None = None,
    ) -> None:
        super().__init__(model_dim, bottleneck_dim, scaling=scaling, pre_norm=pre_norm, tying=tying)
        self.causal = causal
        self.sequence = SequenceTransformer(max_text_tokens, bottleneck_dim, num_heads)

    def forward(self, hidden: Tensor, token_mask: Tensor | None = None, factor: Tensor | None = None) -> Tensor:
        """Give what is added to the MLP's output.

        Args:
            hidden: The MLP's output, (captions, tokens, dim).
            token_mask: True on tokens that others may see, bool (captions, tokens); None where all are seen. A causal
                adapter takes none: padding comes last.
            factor: The shared factor of a tied layer, (factor_dim,).

        Raises:
            ValueError: For more than `max_text_tokens` tokens.
        """
        tokens, max_text_tokens = hidden.shape[1], self.sequence.positions.shape[0]
        if tokens > max_text_tokens:
            raise ValueError(
                f"The captions have {tokens} tokens, this adapter takes at most `max_text_tokens` = {max_text_tokens}. "
                f"Tokenize with max_length={max_text_tokens} and truncation=True, or train with a larger one."
            )
        u = self._down(hidden, factor)
        u = self.sequence(u, self.sequence.positions[:tokens], key_mask=token_mask, is_causal=self.causal)
        return self._up(u, self._tied_up_weight(factor))

    def reset_parameters(self, *, tying_init: TyingInit, position_init_std: float) -> None:
        """Start as the authors do for text: W_down normal with std (2D)^-0.5."""
        super().reset_parameters(tying_init=tying_init, position_init_std=position_init_std)
        nn.init.normal_(self.down.weight, std=(2 * self.down.in_features) ** -0.5)
        self.sequence.reset_parameters(self.down.in_features, position_init_std)
