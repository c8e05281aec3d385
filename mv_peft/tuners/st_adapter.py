"""ST-Adapter (arXiv 2206.13559): a bottleneck with a depthwise convolution over time, before the attention of a layer.

    patches of all frames    x <- x + W_up f(DWConv(W_down x + b_down)) + b_up
    DWConv(u)[t]             = c + sum_k w_k * u[t + k - K // 2]             per channel; K = 3: kernel 3 x 1 x 1

f is QuickGELU, CLIP's own. u is zero before the first and after the last real frame, so padding is invisible. [CLS]
passes unchanged, as in the authors' program, where a tower has it. W_up and b_up start at zero, so a fresh adapter
changes nothing. The paper adapts a vision tower alone; in the text tower, if asked for, the adapter is the same without
the convolution.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..encoders.context import layer_context
from ..encoders.families import TOWERS, LayerNames, ModelTower
from .base.checks import check_positive_int, check_towers
from .base.config import LayerTunerConfig
from .base.layer import AdaptedLayer, merge_refusal
from .base.tuner import LayerTuner
from .bottleneck_adapter import BottleneckAdapter
from .mv_adapter.temporal import quick_gelu


def _vision_only() -> dict[str, Any]:
    return {"vision": None, "text": []}


@dataclass
class STAdapterConfig(LayerTunerConfig):
    """Configuration of ST-Adapter (arXiv 2206.13559) for a dual encoder of Transformers.

    Fields marked "per tower" also take `{"vision": x, "text": y}`; `target_modules`, `exclude_modules` and
    `modules_to_save` stand in `LayerTunerConfig`.

    Args:
        bottleneck_dim: Width of the bottleneck; per tower.
        kernel_size: Number of frames that the convolution sees, an odd number.
        layers_to_transform: Which layers get an adapter: None for all, a layer, or a list; per tower. As in the paper
            the text tower has none unless it is asked for.
    """

    peft_method: ClassVar[str] = "st_adapter"

    bottleneck_dim: int | dict[str, int] = 384
    kernel_size: int = 3
    layers_to_transform: int | list[int] | dict[str, Any] | None = field(default_factory=_vision_only)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_towers("bottleneck_dim", self.bottleneck_dim)
        for tower in TOWERS:
            check_positive_int("bottleneck_dim", self.for_tower("bottleneck_dim", tower))
        check_positive_int("kernel_size", self.kernel_size)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd, so that a frame is in the middle, got {self.kernel_size}.")


class TemporalConvolution(nn.Module):
    """A depthwise convolution over the frames of a video, zero outside of it.

    Args:
        dim: Channels.
        kernel_size: Frames that an output sees, an odd number.
    """

    def __init__(self, dim: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(kernel_size, dim))
        self.bias = nn.Parameter(torch.empty(dim))

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """Convolve frames, (batch, frames, tokens, dim), under frame_mask, bool (batch, frames)."""
        num_frames, kernel_size = frames.shape[1], self.weight.shape[0]
        frames = frames.masked_fill(~frame_mask[:, :, None, None], 0)
        # As a sum of shifted copies: the channels stay last, and nothing is transposed.
        padded = F.pad(frames, (0, 0, 0, 0, kernel_size // 2, kernel_size // 2))
        result: Tensor = self.bias
        for offset in range(kernel_size):
            result = result + self.weight[offset] * padded[:, offset : offset + num_frames]
        return result

    def reset_parameters(self) -> None:
        """Start as `nn.Conv1d` does, uniform in +-1/sqrt(kernel_size)."""
        bound = self.weight.shape[0] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)


class STAdapter(BottleneckAdapter):
    """The bottleneck; in a vision tower with the convolution over time.

    Args:
        model_dim: Width of the tower.
        bottleneck_dim: Width of the adapter.
        kernel_size: Frames that the convolution sees; None: no convolution.
        class_token: Whether the first token of each frame is [CLS], which passes unchanged.
    """

    def __init__(
        self, model_dim: int, bottleneck_dim: int, *, kernel_size: int | None, class_token: bool = True
    ) -> None:
        super().__init__(model_dim, bottleneck_dim)
        self.class_token = class_token
        self.convolution = None if kernel_size is None else TemporalConvolution(bottleneck_dim, kernel_size)

    def forward(self, hidden: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """Give what is added to hidden states (rows, tokens, dim); images have no frame_mask, bool (batch, frames)."""
        if self.convolution is None:
            return self.project_up(quick_gelu(self.down(hidden)))
        if frame_mask is None:  # images: videos of one frame
            frame_mask = torch.ones(hidden.shape[0], 1, dtype=torch.bool, device=hidden.device)
        first = 1 if self.class_token else 0
        u = self.down(hidden[:, first:]).unflatten(0, frame_mask.shape)  # batch frames patches d
        u = quick_gelu(self.convolution(u, frame_mask)).flatten(0, 1)  # batch*frames patches d
        return F.pad(self.project_up(u), (0, 0, first, 0))

    def reset_parameters(self) -> None:
        """Start as the plain adapter does, and the convolution as PyTorch does."""
        super().reset_parameters()
        if self.convolution is not None:
            self.convolution.reset_parameters()


class STAdaptedLayer(AdaptedLayer):
    """An encoder layer whose input has passed through the adapters."""

    adapter_layer_names = ("st_adapter_block",)
    merge_refusal = merge_refusal("ST-Adapter")

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Give the layer's output for hidden states (rows, tokens, dim), and arguments as encoder layers take them."""
        frame_mask, adapted = layer_context().frame_mask, hidden
        for block in self.active_blocks().values():
            args = () if block.convolution is None else (frame_mask,)
            adapted = adapted + self.run(block, hidden, *args)
        return self.base_layer(adapted, attention_mask, **kwargs)


class STAdapterModel(LayerTuner):
    """The tuner of ST-Adapters; arguments and errors are those of `LayerTuner`."""

    title = "ST-Adapter"
    layer_cls = STAdaptedLayer

    @classmethod
    def _adapted_module(cls, names: LayerNames) -> str:
        return ""

    @classmethod
    def _example_blocks(cls) -> list[nn.Module]:
        return [STAdapter(1, 1, kernel_size=1)]

    def _create_adapter(self, config: STAdapterConfig, tower: ModelTower, index: int) -> STAdapter:
        adapter = STAdapter(
            tower.width,
            config.for_tower("bottleneck_dim", tower.name),
            kernel_size=config.kernel_size if tower.name == "vision" else None,
            class_token=tower.names.class_token,
        )
        adapter.reset_parameters()
        return adapter
