"""`AdaptedModule`: a module of CLIP with adapters, what the layers of all our tuners share."""

from __future__ import annotations

from typing import ClassVar

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn


def cannot_merge(title: str) -> str:
    """Why a method that is not linear is not merged."""
    return f"{title} is not linear and cannot be merged into CLIP. Keep the adapter, or use `unload()` to drop it."


class CLIPTunerLayer(BaseTunerLayer):
    """What our tuners recognise their layers by; one without a `base_layer` is held by the CLIP model itself.

    Attributes:
        cannot_merge: Why `merge` refuses.
        takes_layer_context: Whether the module, at `mlp.fc2`, takes what `routing.py` leaves to it.
        routes_rows: Whether `adapter_names` is understood.
    """

    cannot_merge: ClassVar[str]
    takes_layer_context: ClassVar[bool] = False
    routes_rows: ClassVar[bool] = False

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Raises ValueError: the method is not linear."""
        raise ValueError(self.cannot_merge)

    def unmerge(self) -> None:
        """Raises ValueError: nothing was ever merged."""
        raise ValueError(self.cannot_merge)


class AdaptedModule(nn.Module, CLIPTunerLayer):
    """A module of CLIP and, for each adapter's name, a module of the adapter's.

    A subclass names the container of those in `adapter_layer_names`.

    Args:
        base_layer: The module of CLIP.
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
        """Adds an adapter."""
        self.blocks[adapter_name] = block
        self._move_adapter_to_device_of_base_layer(adapter_name)

    def active_blocks(self) -> dict[str, nn.Module]:
        """The adapters that the next forward goes through, by their names."""
        if self.disable_adapters:
            return {}
        return {name: self.blocks[name] for name in self.active_adapters if name in self.blocks}

    def run(self, block: nn.Module, hidden: Tensor, *args: Tensor | None) -> Tensor:
        """An adapter's output, computed in its dtype, returned in that of `hidden`."""
        return block(self._cast_input_dtype(hidden, next(block.parameters()).dtype), *args).to(hidden.dtype)

    def _get_base_layer_device_and_dtype(self, base_layer: nn.Module) -> tuple[torch.device | None, torch.dtype | None]:
        """Also of modules that have no weight of their own, by their first parameter."""
        device, dtype = super()._get_base_layer_device_and_dtype(base_layer)
        if device is None:
            first = next(base_layer.parameters())
            return first.device, first.dtype
        return device, dtype

    def __repr__(self) -> str:
        return f"{self.adapter_layer_names[0].rpartition('_')[0]}." + super().__repr__()
