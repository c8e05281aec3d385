"""The embedding of a video from those of its frames: a module in the slot `model.video_pooling`.

    v_f = frame f / ||frame f||        v = sum_f mask_f v_f / sum_f mask_f

as CLIP4Clip's mean pooling (arXiv 2104.08860) and MV-Adapter have it; the dual encoder then normalises v. A module in
the slot may let the frames see each other first, as a temporal head does: it overrides `refine`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POOLING = "video_pooling"  # where the module stands on the dual encoder


class MeanOfFrames(nn.Module):
    """The mean of the unit vectors of a video's real frames."""

    def refine(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """Change the embeddings of frames before they are pooled, (batch, frames, dim); here they stay as they are.

        An image is a video of one frame.
        """
        return frames

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """Pool the embeddings of frames.

        Args:
            frames: Embeddings in the joint space, (batch, frames, dim); what stands in padded frames has no effect.
            frame_mask: True on real frames, bool (batch, frames).

        Returns:
            (batch, dim), in the dtype of `frames`, not normalised.
        """
        frames = self.refine(frames, frame_mask)
        real = frame_mask[..., None]
        units = F.normalize(frames.to(torch.promote_types(frames.dtype, torch.float32)), dim=-1)
        return (units.masked_fill(~real, 0).sum(dim=1) / real.sum(dim=1)).to(frames.dtype)
