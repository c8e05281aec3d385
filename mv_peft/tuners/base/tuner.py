"""`EncoderTuner` and `LayerTuner`: what all our tuners share, in any module of a dual encoder and in its layers."""

from __future__ import annotations

import copy
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any, ClassVar

import torch
from peft.tuners.tuners_utils import BaseTuner, check_target_module_exists
from peft.utils import INCLUDE_LINEAR_LAYERS_SHORTHAND
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from ...encoders import video_input
from ...encoders.context import route_saved_modules, routed
from ...encoders.families import TOWERS, DualEncoder, LayerNames, Location, ModelTower, TowerName, towers
from .config import LayerTunerConfig
from .layer import AdaptedModule, TunerLayer
from .names import check_adapter_name, check_modules_to_save, part_names
from .register import prefixes

_RIGHT_TARGET = "Leave `target_modules` out, or name layers by `layers_to_transform`."


class EncoderTuner(BaseTuner):
    """A tuner of a dual encoder that gives it videos as input.

    Adds to PEFT's tuner: checks of the model and of names before anything is changed, the hooks for video input,
    `adapter_names`, deletion and unloading that leave nothing behind, and names in checkpoints.

    A subclass has a `title` and a `layer_cls`; the other attributes follow from the latter, unless it has them as well.

    Attributes:
        title: The method, as messages name it.
        layer_cls: What is put around a module.
        tuner_layer_cls: What PEFT recognises the method's modules by.
        containers: Names under which adapters are held in the model.
        prefix: What these names begin with, "ssf_" for "ssf_block"; also `peft_method` of the configuration and "_".
        merge_refusal: Why merging is refused; None where it is not.
    """

    target_module_mapping: ClassVar[dict[str, list[str]]] = {}
    title: ClassVar[str]
    layer_cls: ClassVar[type[AdaptedModule]]
    containers: ClassVar[Sequence[str]]
    merge_refusal: ClassVar[str | None]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        layer = vars(cls).get("layer_cls")
        if layer is None:
            return
        if not hasattr(cls, "title"):
            raise TypeError(f"{cls.__name__} has a `layer_cls` and no `title`. Name the method for messages.")
        (container,) = layer.adapter_layer_names
        derived = {
            "tuner_layer_cls": layer,
            "containers": layer.adapter_layer_names,
            "prefix": f"{container.rpartition('_')[0]}_",
            "merge_refusal": layer.merge_refusal,
        }
        for name, value in derived.items():
            if name not in vars(cls):
                setattr(cls, name, value)

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Inject as PEFT does, after the checks that need the model, with the hooks for video input in place."""
        DualEncoder.of(model)
        took_videos = video_input.is_installed(model)
        check_adapter_name(model, adapter_name, self._parts(), self.containers)
        self._check_config(model, self.peft_config[adapter_name])
        video_input.install(model, owner="tuner")
        try:
            self._before_injection(model, adapter_name, kwargs.get("low_cpu_mem_usage", False))
            super().inject_adapter(model, adapter_name, *args, **kwargs)
        except Exception:
            if not took_videos:  # a refused configuration leaves the model as it was
                video_input.uninstall(model, owner="tuner")
            raise
        route_saved_modules(model)
        video_input.install(model, owner="tuner")

    def _create_and_replace(
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        layer = target if isinstance(target, self.layer_cls) else self.layer_cls(target)
        self._adapt(peft_config, adapter_name, layer, current_key)
        if layer is not target:
            self._replace_module(parent, target_name, layer, target)

    @abstractmethod
    def _adapt(self, config: Any, adapter_name: str, layer: Any, module_name: str) -> None:
        """Put a fresh adapter into the layer around a module."""

    @classmethod
    @abstractmethod
    def _example_blocks(cls) -> list[nn.Module]:
        """Give adapters of every kind, of size 1."""

    @classmethod
    def _parts(cls) -> set[str]:
        with torch.device("meta"):
            return part_names(cls._example_blocks())

    def _check_config(self, model: nn.Module, config: Any) -> None:
        """Raise ValueError if a configuration does not fit the model."""

    def _before_injection(self, model: nn.Module, adapter_name: str, low_cpu_mem_usage: bool) -> None:
        """Put in what has to be in the model before this tuner's layers."""

    def delete_adapter(self, adapter_name: str) -> None:
        """Delete an adapter; if it was the active one, the first of the others takes over, the same in every layer."""
        active = self.active_adapters
        super().delete_adapter(adapter_name)
        remaining = [name for name in active if name != adapter_name] or sorted(self.peft_config)[:1]
        if adapter_name in active and remaining:
            self.set_adapter(remaining)

    def _check_merge_allowed(self) -> None:
        if self.merge_refusal is not None:
            raise ValueError(self.merge_refusal)
        super()._check_merge_allowed()

    def _unload_and_optionally_merge(self, merge: bool = True, *args: Any, **kwargs: Any) -> nn.Module:
        if not merge:  # PEFT would leave the trained copies of `modules_to_save`; unloading gives the originals back
            for name, module in list(self.model.named_modules()):
                if isinstance(module, AuxiliaryTrainingWrapper):
                    self.model.set_submodule(name, module.original_module)
        model = super()._unload_and_optionally_merge(merge, *args, **kwargs)
        for name, module in list(model.named_children()):
            if isinstance(module, TunerLayer) and not hasattr(module, "base_layer"):  # factors that layers share
                delattr(model, name)
        video_input.uninstall(model, owner="tuner")
        return model

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        """Replace as PEFT does on the way in; on the way out put back the module as it was.

        PEFT would give it the weight that the adapted layer has.
        """
        if hasattr(new_module, "base_layer") and next(child.parameters(), None) is not None:
            super()._replace_module(parent, child_name, new_module, child)
        else:
            setattr(parent, child_name, new_module)

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """Route the rows of one call through the adapters that `adapter_names` names."""
        adapter_names = kwargs.get("adapter_names")
        with nullcontext() if adapter_names is None else routed(self.model, adapter_names):
            yield

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """`...fc2.mv_adapter_block.NAME.down.weight` -> `...fc2.mv_adapter_block.down.weight`, of all our methods."""
        ours = rf"(\.(?:{'|'.join(prefixes())})[^.]+)\.{re.escape(adapter_name)}(?=\.|$)"
        if re.search(ours, key):
            return re.sub(ours, r"\1", key, count=1)
        return super()._remove_adapter_name_from_key(key, adapter_name)


class LayerTuner(EncoderTuner):
    """A tuner with adapters on the same module of every encoder layer, which gives a dual encoder videos as input.

    Args:
        model: A model of one of the families in `mv_peft.encoders.families`.
        config: The adapter's configuration.
        adapter_name: The adapter's name.
        low_cpu_mem_usage: Create the adapter's weights on the meta device, for loading.

    Raises:
        TypeError: If the model is none of those.
        ValueError: If the configuration does not fit the model, or the name would be mistaken for a part of it.
    """

    @cached_property
    def _towers(self) -> dict[TowerName, ModelTower]:
        return towers(self.model)

    @classmethod
    @abstractmethod
    def _adapted_module(cls, names: LayerNames) -> str:
        """Give the name of the adapted module inside an encoder layer; "" is the layer itself."""

    @abstractmethod
    def _create_adapter(self, config: Any, tower: ModelTower, index: int) -> Any:
        """Create an adapter for a layer of a tower, initialised."""

    def _adapt(self, config: Any, adapter_name: str, layer: Any, module_name: str) -> None:
        location = self._locate(module_name)
        assert location is not None, module_name
        self._add_adapter(config, adapter_name, self._towers[location.tower], location.layer, layer)

    def _add_adapter(self, config: Any, adapter_name: str, tower: ModelTower, index: int, layer: Any) -> None:
        """Put a fresh adapter into a layer."""
        layer.update_layer(adapter_name, self._create_adapter(config, tower, index))

    def _check_config(self, model: nn.Module, config: LayerTunerConfig) -> None:
        (container,) = self.layer_cls.adapter_layer_names
        check_modules_to_save(
            model,
            config.modules_to_save or [],
            lambda name: self._locate(name) is not None,
            container,
            self._parts(),
        )

    def _prepare_adapter_config(self, peft_config: LayerTunerConfig, model_config: dict) -> LayerTunerConfig:
        if peft_config.target_modules is None:
            patterns = [tower.pattern(self._adapted_module(tower.names.layer)) for tower in self._towers.values()]
            # In a copy, since the caller may use the configuration for a model with other names.
            peft_config = copy.copy(peft_config)
            peft_config.target_modules = "|".join(patterns)
        elif peft_config.target_modules == INCLUDE_LINEAR_LAYERS_SHORTHAND:
            raise ValueError(f"{self._wrong_target()}, not on '{INCLUDE_LINEAR_LAYERS_SHORTHAND}'. {_RIGHT_TARGET}")
        return peft_config

    def _prepare_model(self, peft_config: LayerTunerConfig, model: nn.Module) -> None:
        """Check every target before the first is replaced: a refused configuration leaves the model as it was."""
        self._adapted_layers(peft_config, model)

    def _adapted_layers(self, config: LayerTunerConfig, model: nn.Module) -> list[tuple[TowerName, int]]:
        """Give tower and layer of each module that the configuration adapts."""
        for tower in TOWERS:
            config.adapted_layers(tower, num_layers(model, tower))
        found = []
        (container,) = self.layer_cls.adapter_layer_names
        for name, module in model.named_modules():
            if f".{container}" not in name and self._check_target_module_exists(config, name):
                location = self._locate(name)
                if location is None:
                    what = f"'{name}' ({type(module).__name__})"
                    raise ValueError(f"{self._wrong_target()}, not on {what}. {_RIGHT_TARGET}")
                found.append((location.tower, location.layer))
        return found

    def _check_target_module_exists(self, peft_config: LayerTunerConfig, key: str) -> Any:
        # PEFT's own handling of layers knows neither towers nor regular expressions: it sees none, and ours follows.
        unrestricted = copy.copy(peft_config)
        unrestricted.layers_to_transform = None
        found = check_target_module_exists(unrestricted, key)
        location = self._locate(key)
        if not found or location is None:
            return found
        layers = peft_config.for_tower("layers_to_transform", location.tower)
        if layers is None:
            return found
        return location.layer in ([layers] if isinstance(layers, int) else layers)

    def _locate(self, module_name: str) -> Location | None:
        """Give tower and layer of a module that can take an adapter; None for any other."""
        for tower in self._towers.values():
            location = tower.locate(module_name)
            if location is not None and location.inside == self._adapted_module(tower.names.layer):
                return location
        return None

    def _wrong_target(self) -> str:
        found = {self._adapted_module(tower.names.layer) for tower in self._towers.values()}
        names = " and ".join(f"`{name}`" for name in sorted(found) if name)
        where = f"{names} of the encoder layers" if names else "the encoder layers"
        return f"{self.title} sits on {where}"


def num_layers(model: nn.Module, tower: TowerName) -> int:
    """Give the number of encoder layers of a model's tower; 0 without the tower."""
    found = towers(model).get(tower)
    return 0 if found is None else len(found.layers)
