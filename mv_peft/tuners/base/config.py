"""`LayerTunerConfig`: what the configurations of our tuners that sit in encoder layers share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from peft.config import PeftConfig

from ...encoders.families import TOWERS, TowerName
from .checks import check_towers, checked_layers, checked_names
from .register import peft_type


@dataclass
class LayerTunerConfig(PeftConfig):
    """Which layers get an adapter, and what is trained beside it.

    Fields marked "per tower" also take `{"vision": x, "text": y}`.

    Args:
        layers_to_transform: Which layers get an adapter: None for all, a layer, or a list; per tower.
        target_modules: Names or a regular expression that narrow the adapted modules further; None for all.
        exclude_modules: Names or a regular expression of modules to leave out.
        modules_to_save: Names of the model's modules that are trained in full and saved with the adapter.

    Raises:
        ValueError: For a value out of range, naming the field and the value.
        TypeError: For a value of the wrong type.
    """

    peft_method: ClassVar[str]

    layers_to_transform: int | list[int] | dict[str, Any] | None = None
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type(self.peft_method)
        layers = self.layers_to_transform
        check_towers("layers_to_transform", layers)
        if isinstance(layers, dict):
            self.layers_to_transform = {tower: checked_layers(layers[tower]) for tower in TOWERS}
        else:
            self.layers_to_transform = checked_layers(layers)
        for name in ("target_modules", "exclude_modules", "modules_to_save"):
            setattr(self, name, checked_names(name, getattr(self, name)))

    def for_tower(self, name: str, tower: TowerName) -> Any:
        """Give the value of a per-tower field for one tower."""
        value = getattr(self, name)
        return value[tower] if isinstance(value, dict) else value

    def adapted_layers(self, tower: TowerName, num_layers: int) -> list[int]:
        """Give the layers of a tower of `num_layers` that `layers_to_transform` names.

        Raises:
            ValueError: If it names a layer that the tower does not have.
        """
        layers = self.for_tower("layers_to_transform", tower)
        if layers is None:
            return list(range(num_layers))
        layers = [layers] if isinstance(layers, int) else layers
        beyond = [layer for layer in layers if layer >= num_layers]
        if beyond and num_layers:
            raise ValueError(
                f"`layers_to_transform` names {tower} layers {beyond}, but the model has layers 0 to {num_layers - 1}."
            )
        return layers
