"""Deep prompts in both encoders: VPT-deep (arXiv 2203.12119) in vision, CoOp's context (arXiv 2109.01134) in text.

    [x_i, _, E_i] = L_i([x_{i-1}, P_{i-1}, E_{i-1}])        in each adapted layer i

x is the first token, [CLS] or the begin of a caption, E are the others, P the layer's own learned vectors, which leave
after it. In the text encoder this is CoOp's context behind the begin of the caption, renewed in each layer as deep
prompts are (MaPLe, arXiv 2210.03117). Causality holds: the first token sees no prompt, prompts see the first token and
the prompts before them, words see all prompts. As the prompts leave, the end of a caption stays where CLIP looks for
it; and since they enter behind the position embeddings, words keep their positions, where CoOp moves them on, and a
caption may still have all of CLIP's positions. Prompts change CLIP's output from the start, and `output_hidden_states`
records the layers' outputs with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .base.checks import TOWERS, Tower, check_positive_int, check_std, check_towers
from .base.config import LayerTunerConfig
from .base.layer import AdaptedModule, cannot_merge
from .base.layer_tuner import LayerTuner


@dataclass
class DeepPromptsConfig(LayerTunerConfig):
    """Configuration of deep prompts (arXiv 2203.12119, 2109.01134) for a Hugging Face CLIP model.

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


class PromptedLayer(AdaptedModule):
    """An encoder layer that sees prompts behind the first token."""

    adapter_layer_names = ("deep_prompts_block",)
    cannot_merge = cannot_merge("Prompt tuning")

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        """The layer's output without that of the prompts; arguments as CLIP's layers take them."""
        prompts = [block.vectors.to(hidden.dtype) for block in self.active_blocks().values()]
        if not prompts:
            return self.base_layer(hidden, attention_mask, **kwargs)
        count = sum(len(vectors) for vectors in prompts)
        context = torch.cat(prompts).expand(len(hidden), -1, -1)
        hidden = torch.cat([hidden[:, :1], context, hidden[:, 1:]], dim=1)
        hidden = self.base_layer(hidden, insert_into_mask(attention_mask, count), **kwargs)
        return torch.cat([hidden[:, :1], hidden[:, 1 + count :]], dim=1)


def insert_into_mask(mask: Tensor | None, count: int) -> Tensor | None:
    """Makes room in an attention mask for prompts behind the first token of a causal sequence.

    Args:
        mask: (batch, heads, queries, keys), bool or added to the scores; (batch, keys), 1 on what is seen; None where
            the attention itself is causal, or everything is seen.
        count: How many prompts.

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
    columns[..., 0, :] = hidden  # the first token stands before the prompts
    words = torch.cat([mask[..., :1], columns, mask[..., 1:]], dim=-1)
    positions = torch.arange(keys + count, device=mask.device)
    before = positions <= positions[1 : 1 + count, None]
    rows = mask.new_full((*lead, count, keys + count), hidden).masked_fill(before, seen)
    return torch.cat([words[..., :1, :], rows, words[..., 1:, :]], dim=-2)


class DeepPromptsModel(LayerTuner):
    """Puts deep prompts into a Hugging Face CLIP; arguments and errors as in `LayerTuner`."""

    prefix = "deep_prompts_"
    title = "Prompt tuning"
    adapted_module = ""
    layer_cls = tuner_layer_cls = PromptedLayer
    containers = PromptedLayer.adapter_layer_names
    cannot_merge = PromptedLayer.cannot_merge

    @classmethod
    def _example_blocks(cls) -> list[nn.Module]:
        return [Prompts(1, 1, 0.0)]

    def _create_adapter(self, config: DeepPromptsConfig, tower: Tower, index: int, model_dim: int) -> Prompts:
        return Prompts(config.for_tower("num_prompts", tower), model_dim, config.init_std)
