"""The layers of MV-Adapter: a wrapper of an MLP's second projection, and the factors that towers share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...encoders.context import LayerContext, layer_context
from ..base.layer import AdaptedModule, TunerLayer, merge_refusal
from .adapter import VideoAdapter


class MVAdapterLayer(TunerLayer):
    """What PEFT recognises MV-Adapter's layers by."""

    merge_refusal = merge_refusal("MV-Adapter")
    routes_rows = True


class SharedFactors(nn.Module, MVAdapterLayer):
    """The factors of Cross Modality Tying: for each adapter one tensor, (tied pairs, factor_dim)."""

    adapter_layer_names = ("mv_adapter_factors",)

    def __init__(self) -> None:
        super().__init__()
        self.mv_adapter_factors = nn.ParameterDict()

    def update_layer(self, adapter_name: str, num_pairs: int, factor_dim: int, like: Tensor) -> None:
        """Add an adapter's factors, zero as in the paper, on the device of `like` and, if floating, in its dtype."""
        dtype = like.dtype if like.is_floating_point() else None
        self.mv_adapter_factors[adapter_name] = nn.Parameter(
            torch.zeros(num_pairs, factor_dim, device=like.device, dtype=dtype)
        )

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        """Nothing to do: there is no base layer, and the adapters fetch the factors to where they are."""


class MVAdapterLinear(MVAdapterLayer, AdaptedModule):
    """The second projection of a layer's MLP, with MV-Adapters on its output.

    Args:
        base_layer: The projection, a linear layer.
    """

    adapter_layer_names = ("mv_adapter_block",)

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
        # Not registered as a child: the factors belong to the model, and this is only where to look them up.
        object.__setattr__(self, "shared_factors", None)

    def share(self, shared_factors: SharedFactors) -> None:
        """Tell a tied layer where to find its factors."""
        object.__setattr__(self, "shared_factors", shared_factors)

    def forward(self, x: Tensor) -> Tensor:
        """Give the adapted MLP output for x, (batch * frames, tokens, hidden) or (captions, tokens, hidden)."""
        result = self.base_layer(x)
        if self.disable_adapters:
            return result
        context = layer_context()
        if context.adapter_rows is not None:
            return self._mixed_batch(result, context)
        hidden = result
        for name in self.active_adapters:
            if name in self.mv_adapter_block:
                # In place, the delta being nobody else's: another tensor of this size takes as long as its computing.
                result = self._delta(name, hidden, context).add_(result)
        return result

    def _mixed_batch(self, hidden: Tensor, context: LayerContext) -> Tensor:
        """Send each video or caption through the adapter that it is routed to."""
        batch = hidden.shape[0] if context.frame_mask is None else context.frame_mask.shape[0]
        videos = hidden.unflatten(0, (batch, -1))  # batch*frames tokens dim -> batch frames tokens dim
        result = videos
        for name, rows in (context.adapter_rows or {}).items():
            if name in self.mv_adapter_block:
                frames, tokens = (mask if mask is None else mask[rows] for mask in context[:2])
                delta = self._delta(name, videos[rows].flatten(0, 1), LayerContext(frames, tokens))
                result = result.index_add(0, rows, delta.unflatten(0, (len(rows), -1)))
        return result.flatten(0, 1)

    def _delta(self, adapter_name: str, hidden: Tensor, context: LayerContext) -> Tensor:
        """Give the adapter's output for the MLP's output, computed in the adapter's dtype, returned in the tower's."""
        block = self.mv_adapter_block[adapter_name]
        weight = block.down.weight
        factor = None
        if block.tying is not None:
            factor = self.shared_factors.mv_adapter_factors[adapter_name][block.tying.pair_index]
            factor = factor.to(device=weight.device, dtype=weight.dtype)
        mask = context.token_mask
        if isinstance(block, VideoAdapter):
            mask = context.frame_mask
            if mask is None:  # images: videos of one frame
                mask = torch.ones(hidden.shape[0], 1, dtype=torch.bool, device=hidden.device)
        return block(self._cast_input_dtype(hidden, weight.dtype), mask, factor).to(hidden.dtype)
