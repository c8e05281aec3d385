"""Deep prompts in both encoders: VPT-deep (arXiv 2203.12119) in vision, CoOp's context (arXiv 2109.01134) in text.

    [x_i, _, E_i] = L_i([x_{i-1}, P_{i-1}, E_{i-1}])        in each adapted layer i

x is the first token, [CLS] or the beginning of a caption, E are the others, and P the learned vectors of the layer,
which leave after it. In the text encoder this is CoOp's context behind the beginning of the caption, renewed in each
layer as deep prompts are (MaPLe, arXiv 2210.03117). In a causal tower the first token sees no prompt, prompts see the
first token and the prompts before them, and words see all prompts; elsewhere every token sees every prompt. As the
prompts leave, the end of a caption stays where the model looks for it. Since they enter behind the position embeddings,
words keep their positions, where CoOp moves them on, and a caption may still have all positions of the model. Prompts
change the output from the start, and `output_hidden_states` records the layers' outputs with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..encoders.families import TOWERS, LayerNames, ModelTower
from .base.checks import check_positive_int, check_std, check_towers
from .base.config import LayerTunerConfig
from .base.layer import AdaptedLayer, merge_refusal
from .base.tuner import LayerTuner


@dataclass
class DeepPromptsConfig(LayerTunerConfig):
    """Configuration of deep prompts (arXiv 2203.12119, 2109.01134) for a dual encoder of Transformers.

    Fields marked "per tower" also take `{"vision": x, "text": y}`; so does `layers_to_transform`, which stands with
    `target_modules`, `exclude_modules` and `modules_to_save` in `LayerTunerConfig`.

    Args:
        num_prompts: Learned vectors in each adapted layer; per tower. A tower without any: `layers_to_transform`.
        init_std: Standard deviation of the vectors at the start.
    """

    peft_method: ClassVar[str] = "deep_prompts"

    num_prompts: int | dict[str, int] = 8
    init_std: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        check_towers("num_prompts", self.num_prompts)
        for tower in TOWERS:
            check_positive_int("num_prompts", self.for_tower("num_prompts", tower))
        check_std("init_std", self.init_std)


class Prompts(nn.Module):
    """The learned vectors of a layer, (num_prompts, dim)."""

    def __init__(self, num_prompts: int, dim: int, init_std: float) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(num_prompts, dim))
        nn.init.normal_(self.vectors, std=init_std)


class PromptedLayer(AdaptedLayer):
    """An encoder layer that sees prompts behind the first token.

    Attributes:
        causal: Whether a token of this layer sees only itself and those before it.
    """

    adapter_layer_names = ("deep_prompts_block",)
    merge_refusal = merge_refusal("Prompt tuning")
    causal: bool

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Give the layer's output without that of the prompts; arguments as encoder layers take them."""
        prompts = [block.vectors.to(hidden.dtype) for block in self.active_blocks().values()]
        if not prompts:
            return self.base_layer(hidden, attention_mask, **kwargs)
        count = sum(len(vectors) for vectors in prompts)
        context = torch.cat(prompts).expand(len(hidden), -1, -1)
        hidden = torch.cat([hidden[:, :1], context, hidden[:, 1:]], dim=1)
        hidden = self.base_layer(hidden, insert_into_mask(attention_mask, count, causal=self.causal), **kwargs)
        return torch.cat([hidden[:, :1], hidden[:, 1 + count :]], dim=1)


def insert_into_mask(mask: Tensor | None, count: int, *, causal: bool) -> Tensor | None:
    """Make room in an attention mask for prompts behind the first token of a sequence.

    Args:
        mask: (batch, heads, queries, keys), bool or added to the scores; (batch, keys), 1 on what is seen; None where
            the attention itself is causal, or everything is seen.
        count: Number of prompts.
        causal: Whether the sequence is causal: then the first token sees no prompt.

    Raises:
        TypeError: For a mask that is no tensor of those.
    """
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.dim() not in (2, 4):
        shape = f"{tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(
            f"Deep prompts need an attention mask of 2 or 4 dimensions, got {shape}. Use another attention."
        )
    if mask.dim() == 2:
        return torch.cat([mask[:, :1], mask.new_ones(len(mask), count), mask[:, 1:]], dim=1)
    seen, hidden = (True, False) if mask.dtype == torch.bool else (0, torch.finfo(mask.dtype).min)
    *lead, queries, keys = mask.shape
    columns = mask.new_full((*lead, queries, count), seen)
    if causal:
        columns[..., 0, :] = hidden  # the first token stands before the prompts
    words = torch.cat([mask[..., :1], columns, mask[..., 1:]], dim=-1)
    if not causal:  # prompts see what the first token sees, which is all but padding
        rows = words[..., :1, :].expand(*lead, count, keys + count)
        return torch.cat([words[..., :1, :], rows, words[..., 1:, :]], dim=-2)
    positions = torch.arange(keys + count, device=mask.device)
    before = positions <= positions[1 : 1 + count, None]
    rows = mask.new_full((*lead, count, keys + count), hidden).masked_fill(before, seen)
    return torch.cat([words[..., :1, :], rows, words[..., 1:, :]], dim=-2)


class DeepPromptsModel(LayerTuner):
    """The tuner of deep prompts; arguments and errors are those of `LayerTuner`."""

    title = "Prompt tuning"
    layer_cls = PromptedLayer

    @classmethod
    def _adapted_module(cls, names: LayerNames) -> str:
        return ""

    @classmethod
    def _example_blocks(cls) -> list[nn.Module]:
        return [Prompts(1, 1, 0.0)]

    def _add_adapter(
        self, config: DeepPromptsConfig, adapter_name: str, tower: ModelTower, index: int, layer: PromptedLayer
    ) -> None:
        layer.causal = tower.names.causal
        super()._add_adapter(config, adapter_name, tower, index, layer)

    def _create_adapter(self, config: DeepPromptsConfig, tower: ModelTower, index: int) -> Prompts:
        return Prompts(config.for_tower("num_prompts", tower.name), tower.width, config.init_std)
