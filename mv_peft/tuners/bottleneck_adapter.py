"""The plain bottleneck adapter, AdaptFormer (arXiv 2205.13535), beside or behind the MLP of every encoder layer.

    parallel     out = h + MLP(LN(h)) + a(LN(h))
    sequential   out = h + m + a(m)                 m = MLP(LN(h))

    a(x) = s (W_up ReLU(W_down x + b_down) + b_up)

Width 64 and s = 0.1 are the paper's, as is the start: W_down Kaiming uniform, everything else zero, so that a fresh
adapter changes nothing. "Parallel" is AdaptFormer proper. Frames are treated one by one. In layers that normalise
after the MLP, as BERT's, h itself takes the place of LN(h), and the sum is normalised as the layer normalises its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from ..encoders.families import TOWERS, LayerNames, ModelTower
from .base.checks import check_choice, check_number, check_positive_int, check_towers
from .base.config import LayerTunerConfig
from .base.layer import AdaptedModule, merge_refusal
from .base.tuner import LayerTuner

Insertion = Literal["parallel", "sequential"]
INSERTIONS = get_args(Insertion)


@dataclass
class BottleneckAdapterConfig(LayerTunerConfig):
    """Configuration of AdaptFormer's adapter (arXiv 2205.13535) for a dual encoder of Transformers.

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
        """Give what is added, for hidden states (..., model_dim)."""
        return self.project_up(F.relu(self.down(hidden)))

    def project_up(self, bottleneck: Tensor) -> Tensor:
        """Project up, scaled before, where that costs fewer channels."""
        return F.linear(self.scaling * bottleneck, self.up.weight, self.scaling * self.up.bias)

    def reset_parameters(self) -> None:
        """Start as AdaptFormer does."""
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)


class AdaptedMLP(AdaptedModule):
    """The MLP of an encoder layer with adapters beside or behind it.

    Attributes:
        mlp_out: Name of the second projection inside the MLP.
    """

    adapter_layer_names = ("bottleneck_adapter_block",)
    merge_refusal = merge_refusal("The bottleneck adapter")
    mlp_out: str

    def forward(self, hidden: Tensor, residual: Tensor | None = None) -> Tensor:
        """Give the adapted MLP's output.

        Args:
            hidden: What the MLP takes, (rows, tokens, dim).
            residual: Where the MLP's module adds and normalises, the hidden states to add, (rows, tokens, model_dim).
        """
        blocks = self.active_blocks().values()
        if residual is None:
            result = output = self.base_layer(hidden)
            for block in blocks:
                result = result + self.run(block, hidden if block.insertion == "parallel" else output)
            return result
        total = residual
        for block in blocks:
            is_parallel = block.insertion == "parallel"
            total = total + self.run(block, residual if is_parallel else self._project(hidden))
        return self.base_layer(hidden, total)

    def _project(self, hidden: Tensor) -> Tensor:
        return self.base_layer.get_submodule(self.mlp_out)(hidden)


class BottleneckAdapterModel(LayerTuner):
    """The tuner of AdaptFormer's adapter; arguments and errors are those of `LayerTuner`."""

    title = "The bottleneck adapter"
    layer_cls = AdaptedMLP

    @classmethod
    def _adapted_module(cls, names: LayerNames) -> str:
        return names.mlp

    @classmethod
    def _example_blocks(cls) -> list[nn.Module]:
        return [BottleneckAdapter(1, 1)]

    def _add_adapter(
        self, config: BottleneckAdapterConfig, adapter_name: str, tower: ModelTower, index: int, layer: AdaptedMLP
    ) -> None:
        names = tower.names.layer
        layer.mlp_out = names.mlp_out.removeprefix(f"{names.mlp}.")
        super()._add_adapter(config, adapter_name, tower, index, layer)

    def _create_adapter(self, config: BottleneckAdapterConfig, tower: ModelTower, index: int) -> BottleneckAdapter:
        adapter = BottleneckAdapter(
            tower.width,
            config.for_tower("bottleneck_dim", tower.name),
            scaling=config.for_tower("scaling", tower.name),
            insertion=config.insertion,
        )
        adapter.reset_parameters()
        return adapter
