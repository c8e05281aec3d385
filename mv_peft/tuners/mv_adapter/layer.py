"""The layers that MV-Adapter puts into CLIP, in PEFT's form: a wrapped `mlp.fc2`, and the factors that towers share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...encoders.context import take_layer_context
from ..base.layer import AdaptedModule, CLIPTunerLayer, cannot_merge
from .adapter import VideoAdapter

CANNOT_MERGE = cannot_merge("MV-Adapter")


class MVAdapterLayer(CLIPTunerLayer):
    """What PEFT recognises MV-Adapter's layers by."""

    cannot_merge = CANNOT_MERGE
    routes_rows = True


class SharedFactors(nn.Module, MVAdapterLayer):
    """The factors of Cross Modality Tying: for each adapter one tensor, (tied pairs, factor_dim)."""

    adapter_layer_names = ("mv_adapter_factors",)

    def __init__(self) -> None:
        super().__init__()
        self.mv_adapter_factors = nn.ParameterDict()

    def update_layer(self, adapter_name: str, num_pairs: int, factor_dim: int, like: Tensor) -> None:
        """Adds an adapter's factors, zero as in the paper, on the device of `like` and, if floating, in its dtype."""
        dtype = like.dtype if like.is_floating_point() else None
        self.mv_adapter_factors[adapter_name] = nn.Parameter(
            torch.zeros(num_pairs, factor_dim, device=like.device, dtype=dtype)
        )

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        """Nothing to do: there is no base layer, and the adapters fetch the factors to where they are."""


class MVAdapterLinear(MVAdapterLayer, AdaptedModule):
    """A layer's `mlp.fc2` with MV-Adapters on its output.

    Args:
        base_layer: The second projection of the MLP of one of CLIP's encoder layers.
    """

    adapter_layer_names = ("mv_adapter_block",)
    takes_layer_context = True

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
        # Not registered as a child: the factors belong to the model, and this is only where to look them up.
        object.__setattr__(self, "shared_factors", None)

    def share(self, shared_factors: SharedFactors) -> None:
        """Says where a tied layer finds its factors."""
        object.__setattr__(self, "shared_factors", shared_factors)

    def forward(self, x: Tensor) -> Tensor:
        """The adapted MLP output for x, (batch * frames, tokens, hidden) or (captions, tokens, hidden)."""
        result = self.base_layer(x)
        frame_mask, adapter_rows = take_layer_context()
        if self.disable_adapters:
            return result
        if adapter_rows is not None:
            return self._mixed_batch(result, frame_mask, adapter_rows)
        hidden = result
        for name in self.active_adapters:
            if name in self.mv_adapter_block:
                # In place, the delta being nobody else's: another tensor of this size takes as long as its computing.
                result = self._delta(name, hidden, frame_mask).add_(result)
        return result

    def _mixed_batch(self, hidden: Tensor, frame_mask: Tensor | None, adapter_rows: Mapping[str, Tensor]) -> Tensor:
        """Each video or caption through the adapter that it is routed to."""
        batch = hidden.shape[0] if frame_mask is None else frame_mask.shape[0]
        videos = hidden.unflatten(0, (batch, -1))  # batch*frames tokens dim -> batch frames tokens dim
        result = videos
        for name, rows in adapter_rows.items():
            if name in self.mv_adapter_block:
                mask = None if frame_mask is None else frame_mask[rows]
                delta = self._delta(name, videos[rows].flatten(0, 1), mask)
                result = result.index_add(0, rows, delta.unflatten(0, (len(rows), -1)))
        return result.flatten(0, 1)

    def _delta(self, adapter_name: str, hidden: Tensor, frame_mask: Tensor | None) -> Tensor:
        """The adapter's output for the MLP's output, computed in the adapter's dtype, returned in CLIP's."""
        block = self.mv_adapter_block[adapter_name]
        weight = block.down.weight
        factor = None
        if block.tying is not None:
            factor = self.shared_factors.mv_adapter_factors[adapter_name][block.tying.pair_index]
            factor = factor.to(device=weight.device, dtype=weight.dtype)
        hidden_cast = self._cast_input_dtype(hidden, weight.dtype)
        if isinstance(block, VideoAdapter):
            if frame_mask is None:  # images: videos of one frame
                frame_mask = torch.ones(hidden.shape[0], 1, dtype=torch.bool, device=hidden.device)
            return block(hidden_cast, frame_mask, factor).to(hidden.dtype)
        return block(hidden_cast, factor).to(hidden.dtype)
