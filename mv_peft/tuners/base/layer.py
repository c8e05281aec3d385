"""`AdaptedModule`: a module of the base model with adapters, which the layers of all our tuners are."""

from __future__ import annotations

from typing import ClassVar

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from ...encoders.context import enter_around_layer


def merge_refusal(title: str, reason: str = "is not linear") -> str:
    """Say why a method is not merged."""
    return f"{title} {reason} and cannot be merged into the model. Keep the adapter, or use `unload()` to drop it."


class TunerLayer(BaseTunerLayer):
    """What our tuners recognise their layers by; one without a `base_layer` is held by the base model itself.

    Attributes:
        merge_refusal: Why `merge` refuses; None where it is overridden.
        routes_rows: Whether the layer understands mixed batches, by `layer_context().adapter_rows`. If not, the
            argument `adapter_names` is refused while the model holds such a layer.
    """

    merge_refusal: ClassVar[str | None]
    routes_rows: ClassVar[bool] = False

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Raise ValueError, since the method is not merged."""
        raise ValueError(self.merge_refusal)

    def unmerge(self) -> None:
        """Raise ValueError: nothing was ever merged."""
        raise ValueError(self.merge_refusal)


class AdaptedModule(nn.Module, TunerLayer):
    """A module of the base model and, for each adapter's name, a module of the adapter's.

    A subclass names the container of the adapters in `adapter_layer_names`. It learns about the batch by
    `mv_peft.encoders.context.layer_context()`.

    Args:
        base_layer: The module of the base model.
    """

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        (container,) = self.adapter_layer_names
        self.add_module(container, nn.ModuleDict())

    @property
    def blocks(self) -> nn.ModuleDict:
        """The adapters by their names."""
        return getattr(self, self.adapter_layer_names[0])

    def update_layer(self, adapter_name: str, block: nn.Module) -> None:
        """Add an adapter."""
        self.blocks[adapter_name] = block
        self._move_adapter_to_device_of_base_layer(adapter_name)

    def active_blocks(self) -> dict[str, nn.Module]:
        """Give the adapters that the next forward goes through, by their names."""
        if self.disable_adapters:
            return {}
        return {name: self.blocks[name] for name in self.active_adapters if name in self.blocks}

    def run(self, block: nn.Module, hidden: Tensor, *args: Tensor | None) -> Tensor:
        """Give an adapter's output, computed in its dtype, returned in that of `hidden`."""
        return block(self._cast_input_dtype(hidden, next(block.parameters()).dtype), *args).to(hidden.dtype)

    def _get_base_layer_device_and_dtype(self, base_layer: nn.Module) -> tuple[torch.device | None, torch.dtype | None]:
        """Also of modules that have no weight of their own, by their first parameter; None of those without any."""
        device, dtype = super()._get_base_layer_device_and_dtype(base_layer)
        first = next(base_layer.parameters(), None)
        if device is None and first is not None:
            return first.device, first.dtype
        return device, dtype

    def __repr__(self) -> str:
        return f"{self.adapter_layer_names[0].rpartition('_')[0]}." + super().__repr__()


class AdaptedLayer(AdaptedModule):
    """A whole encoder layer with adapters around it, which sees the layer's context before the layer does."""

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.register_forward_pre_hook(enter_around_layer, with_kwargs=True)
