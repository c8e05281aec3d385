"""The plain bottleneck adapter, AdaptFormer (arXiv 2205.13535), beside or behind the MLP of every encoder layer.

    parallel     out = h + MLP(LN(h)) + a(LN(h))
    sequential   out = h + m + a(m)                 m = MLP(LN(h))

    a(x) = s (W_up ReLU(W_down x + b_down) + b_up)

Width 64 and s = 0.1 are the paper's, as is the start: W_down Kaiming uniform, everything else zero, so that a fresh
adapter changes nothing. "Parallel" is AdaptFormer proper. Frames are treated one by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from .base.checks import TOWERS, Tower, check_choice, check_number, check_positive_int, check_towers
from .base.config import LayerTunerConfig
from .base.layer import AdaptedModule, cannot_merge
from .base.layer_tuner import LayerTuner

Insertion = Literal["parallel", "sequential"]
INSERTIONS = get_args(Insertion)


@dataclass
class BottleneckAdapterConfig(LayerTunerConfig):
    """Configuration of AdaptFormer's adapter (arXiv 2205.13535) for a Hugging Face CLIP model.

    Fields marked "per tower" also take `{"vision": x, "text": y}`; so does `layers_to_transform`, which stands with
    `target_modules`, `exclude_modules` and `modules_to_save` in `LayerTunerConfig`.

    Args:
        bottleneck_dim: Width of the bottleneck; per tower.
        scaling: Factor on the adapters' output; per tower.
        insertion: "parallel" to the MLP, or "sequential", on its output.
    """

    peft_method: ClassVar[str] = "bottleneck_adapter"

    bottleneck_dim: int | dict[str, int] = 64
    scaling: float | dict[str, float] = 0.1
    insertion: Insertion = "parallel"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, check in (("bottleneck_dim", check_positive_int), ("scaling", check_number)):
            check_towers(name, getattr(self, name))
            for tower in TOWERS:
                check(name, self.for_tower(name, tower))
        check_choice("insertion", self.insertion, INSERTIONS)


class BottleneckAdapter(nn.Module):
    """Down-projection, activation, up-projection.

    Args:
        model_dim: Width of the tower.
        bottleneck_dim: Width of the adapter.
        scaling: Factor on the adapter's output.
        insertion: Where beside an MLP it stands.
    """

    def __init__(
        self, model_dim: int, bottleneck_dim: int, *, scaling: float = 1.0, insertion: Insertion = "parallel"
    ) -> None:
        super().__init__()
        self.scaling = scaling
        self.insertion = insertion
        self.down = nn.Linear(model_dim, bottleneck_dim)
        self.up = nn.Linear(bottleneck_dim, model_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """What is added, for hidden states (..., model_dim)."""
        return self.raise_up(F.relu(self.down(hidden)))

    def raise_up(self, bottleneck: Tensor) -> Tensor:
        """The scaled up-projection; scaled before, where it costs fewer channels."""
        return F.linear(self.scaling * bottleneck, self.up.weight, self.scaling * self.up.bias)

    def reset_parameters(self) -> None:
        """AdaptFormer's start."""
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)


class AdaptedMLP(AdaptedModule):
    """An encoder layer's `mlp` with adapters beside or behind it."""

    adapter_layer_names = ("bottleneck_adapter_block",)
    cannot_merge = cannot_merge("The bottleneck adapter")

    def forward(self, hidden: Tensor) -> Tensor:
        """The adapted MLP's output for hidden states (rows, tokens, dim)."""
        result = output = self.base_layer(hidden)
        for block in self.active_blocks().values():
            result = result + self.run(block, hidden if block.insertion == "parallel" else output)
        return result


class BottleneckAdapterModel(LayerTuner):
    """Puts AdaptFormer's adapters into a Hugging Face CLIP; arguments and errors as in `LayerTuner`."""

    prefix = "bottleneck_adapter_"
    title = "The bottleneck adapter"
    adapted_module = "mlp"
    layer_cls = tuner_layer_cls = AdaptedMLP
    containers = AdaptedMLP.adapter_layer_names
    cannot_merge = AdaptedMLP.cannot_merge

    @classmethod
    def _example_blocks(cls) -> list[nn.Module]:
        return [BottleneckAdapter(1, 1)]

    def _create_adapter(
        self, config: BottleneckAdapterConfig, tower: Tower, index: int, model_dim: int
    ) -> BottleneckAdapter:
        adapter = BottleneckAdapter(
            model_dim,
            config.for_tower("bottleneck_dim", tower),
            scaling=config.for_tower("scaling", tower),
            insertion=config.insertion,
        )
        adapter.reset_parameters()
        return adapter
