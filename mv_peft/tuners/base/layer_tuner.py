"""`LayerTuner`: a tuner with one adapter in each of CLIP's encoder layers."""

from __future__ import annotations

import copy
import re
from abc import abstractmethod
from typing import Any, ClassVar

from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils import INCLUDE_LINEAR_LAYERS_SHORTHAND
from torch import nn

from .checks import TOWERS, Tower
from .config import LayerTunerConfig
from .names import check_modules_to_save
from .tuner import CLIPTuner

_RIGHT_TARGET = "Leave `target_modules` out, or name layers by `layers_to_transform`."


class LayerTuner(CLIPTuner):
    """Puts adapters on the same module of every encoder layer of a Hugging Face CLIP, and gives it videos as input.

    Args:
        model: A `CLIPModel`, `CLIPVisionModelWithProjection` or `CLIPTextModelWithProjection`.
        config: The adapter's configuration.
        adapter_name: The adapter's name.
        low_cpu_mem_usage: Creates the adapter's weights on the meta device, for loading.

    Attributes:
        adapted_module: Name of the module inside an encoder layer; "" is the layer itself.

    Raises:
        TypeError: If the model is not one of those.
        ValueError: If the configuration does not fit the model, or the name would be mistaken for a part of it.
    """

    adapted_module: ClassVar[str]

    @abstractmethod
    def _create_adapter(self, config: Any, tower: Tower, index: int, model_dim: int) -> Any:
        """A fresh adapter for a layer of a tower of width `model_dim`, initialised."""

    def _adapt(self, config: Any, adapter_name: str, layer: Any, module_name: str) -> None:
        place = self._place(module_name)
        assert place is not None, module_name
        self._add_adapter(config, adapter_name, *place, layer)

    def _add_adapter(self, config: Any, adapter_name: str, tower: Tower, index: int, layer: Any) -> None:
        """Puts a fresh adapter into a layer."""
        model_dim = getattr(self.model, f"{tower}_model").config.hidden_size
        layer.update_layer(adapter_name, self._create_adapter(config, tower, index, model_dim))

    def _check_config(self, model: nn.Module, config: LayerTunerConfig) -> None:
        (container,) = self.layer_cls.adapter_layer_names
        check_modules_to_save(
            model, config.modules_to_save or [], lambda name: self._place(name) is not None, container, self._parts()
        )

    def _prepare_adapter_config(self, peft_config: LayerTunerConfig, model_config: dict) -> LayerTunerConfig:
        if peft_config.target_modules is None:
            peft_config.target_modules = rf"(?:.*\.)?(?:vision|text)_model\.(?:.*\.)?layers\.\d+{self._pattern()}"
        elif peft_config.target_modules == INCLUDE_LINEAR_LAYERS_SHORTHAND:
            raise ValueError(f"{self._wrong_target()}, not on '{INCLUDE_LINEAR_LAYERS_SHORTHAND}'. {_RIGHT_TARGET}")
        return peft_config

    def _prepare_model(self, peft_config: LayerTunerConfig, model: nn.Module) -> None:
        """Checks every target before the first is replaced: a refused config leaves the model as it was."""
        self._adapted_places(peft_config, model)

    def _adapted_places(self, config: LayerTunerConfig, model: nn.Module) -> list[tuple[Tower, int]]:
        """Tower and layer of each module that the config adapts."""
        for tower in TOWERS:
            config.adapted_layers(tower, num_layers(model, tower))
        places = []
        (container,) = self.layer_cls.adapter_layer_names
        for name, module in model.named_modules():
            if f".{container}" not in name and self._check_target_module_exists(config, name):
                place = self._place(name)
                if place is None:
                    found = f"'{name}' ({type(module).__name__})"
                    raise ValueError(f"{self._wrong_target()}, not on {found}. {_RIGHT_TARGET}")
                places.append(place)
        return places

    @classmethod
    def _check_target_module_exists(cls, peft_config: LayerTunerConfig, key: str) -> Any:
        # PEFT's own handling of layers knows neither towers nor regular expressions: it sees none, and ours follows.
        unrestricted = copy.copy(peft_config)
        unrestricted.layers_to_transform = None
        found = check_target_module_exists(unrestricted, key)
        place = cls._place(key)
        if not found or place is None:
            return found
        tower, index = place
        layers = peft_config.for_tower("layers_to_transform", tower)
        if layers is None:
            return found
        return index in ([layers] if isinstance(layers, int) else layers)

    @classmethod
    def _pattern(cls) -> str:
        return rf"\.{re.escape(cls.adapted_module)}" if cls.adapted_module else ""

    @classmethod
    def _place(cls, module_name: str) -> tuple[Tower, int] | None:
        """Tower and layer of a module that can take an adapter; None for any other."""
        pattern = r"(?:^|\.)(?P<tower>vision|text)_model\.(?:.*\.)?layers\.(?P<index>\d+)" + cls._pattern() + "$"
        match = re.search(pattern, module_name)
        if match is None:
            return None
        return "vision" if match["tower"] == "vision" else "text", int(match["index"])

    @classmethod
    def _wrong_target(cls) -> str:
        where = f"`{cls.adapted_module}` of CLIP's encoder layers" if cls.adapted_module else "CLIP's encoder layers"
        return f"{cls.title} sits on {where}"


def num_layers(model: nn.Module, tower: Tower) -> int:
    """How many encoder layers a tower of the model has; 0 without the tower."""
    encoder = getattr(model, f"{tower}_model", None)
    return 0 if encoder is None else encoder.config.num_hidden_layers
