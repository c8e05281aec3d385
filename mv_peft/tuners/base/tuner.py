"""`CLIPTuner`: what all our tuners share, wherever in CLIP they sit."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from peft.tuners.tuners_utils import BaseTuner
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from ...encoders import video_input
from ...encoders.context import route_saved_modules, routed
from .layer import AdaptedModule, CLIPTunerLayer
from .names import check_adapter_name, part_names
from .register import prefixes


class CLIPTuner(BaseTuner):
    """A tuner of a Hugging Face CLIP that gives it videos as input.

    Adds to PEFT's tuner: checks of the model and of names before anything is changed, the hooks for video input,
    `adapter_names`, deletion and unloading that leave nothing behind, and names in checkpoints.

    Attributes:
        title: The method, as messages name it.
        layer_cls: What is put around a module.
        containers: Names under which adapters are held in the model.
        cannot_merge: Why merging is refused; None where it is not.
    """

    target_module_mapping: ClassVar[dict[str, list[str]]] = {}
    title: ClassVar[str]
    layer_cls: ClassVar[type[AdaptedModule]]
    containers: ClassVar[Collection[str]]
    cannot_merge: ClassVar[str | None]

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """PEFT's injection, after the checks that need the model and before the hooks for video input."""
        video_input.check_model(model)
        check_adapter_name(model, adapter_name, self._parts(), self.containers)
        self._check_config(model, self.peft_config[adapter_name])
        self._before_injection(model, adapter_name, kwargs.get("low_cpu_mem_usage", False))
        super().inject_adapter(model, adapter_name, *args, **kwargs)
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
        """Puts a fresh adapter into the layer around a module."""

    @classmethod
    @abstractmethod
    def _example_blocks(cls) -> list[nn.Module]:
        """Adapters of every kind, of size 1."""

    @classmethod
    def _parts(cls) -> set[str]:
        with torch.device("meta"):
            return part_names(cls._example_blocks())

    def _check_config(self, model: nn.Module, config: Any) -> None:
        """Raises ValueError if a configuration does not fit the model."""

    def _before_injection(self, model: nn.Module, adapter_name: str, low_cpu_mem_usage: bool) -> None:
        """What has to be in the model before this tuner's layers."""

    def delete_adapter(self, adapter_name: str) -> None:
        """Deletes an adapter; if it was the active one, the first of the others takes over, the same in every layer."""
        active = self.active_adapters
        super().delete_adapter(adapter_name)
        remaining = [name for name in active if name != adapter_name] or sorted(self.peft_config)[:1]
        if adapter_name in active and remaining:
            self.set_adapter(remaining)

    def _check_merge_allowed(self) -> None:
        if self.cannot_merge is not None:
            raise ValueError(self.cannot_merge)
        super()._check_merge_allowed()

    def _unload_and_optionally_merge(self, merge: bool = True, *args: Any, **kwargs: Any) -> nn.Module:
        if not merge:  # PEFT would leave the trained copies of `modules_to_save`; unloading gives the originals back
            for name, module in list(self.model.named_modules()):
                if isinstance(module, AuxiliaryTrainingWrapper):
                    self.model.set_submodule(name, module.original_module)
        model = super()._unload_and_optionally_merge(merge, *args, **kwargs)
        for name, module in list(model.named_children()):
            if isinstance(module, CLIPTunerLayer) and not hasattr(module, "base_layer"):  # factors that layers share
                delattr(model, name)
        video_input.uninstall(model, owner="tuner")
        return model

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        """PEFT's way in; on the way out the module as it was, which PEFT would give the weight that a layer has."""
        if hasattr(new_module, "base_layer"):
            super()._replace_module(parent, child_name, new_module, child)
        else:
            setattr(parent, child_name, new_module)

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """Routes the rows of one call through the adapters that `adapter_names` names."""
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
