"""Full fine-tuning in PEFT's form: every module of the model that has weights gets a trained copy.

So it is saved, loaded, switched, disabled and merged like any adapter, at the price of the model's weights a second
time, on disk and in memory. The parameters of the loss, `logit_scale` and `logit_bias`, stay as they are, as with all
methods here. A fresh copy changes nothing.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from peft.config import PeftConfig
from peft.tuners.tuners_utils import check_adapters_to_merge
from torch import Tensor, nn

from ..encoders.pooling import POOLING
from .base.checks import checked_names
from .base.layer import AdaptedModule
from .base.register import peft_type
from .base.tuner import EncoderTuner


@dataclass
class FullFineTuningConfig(PeftConfig):
    """Configuration of full fine-tuning for a dual encoder of Transformers.

    Args:
        target_modules: Names or a regular expression that narrow the trained modules; None for all. Modules with
            weights of their own, such as "q_proj" or "layer_norm1", or "embeddings".
        exclude_modules: Names or a regular expression of modules that stay frozen.
    """

    peft_method: ClassVar[str] = "full_fine_tuning"

    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type(self.peft_method)
        for name in ("target_modules", "exclude_modules"):
            setattr(self, name, checked_names(name, getattr(self, name)))


class TrainedCopies(AdaptedModule):
    """A module of the model and trained copies of it, one for each adapter; it runs the active one."""

    adapter_layer_names = ("full_fine_tuning_copy",)
    merge_refusal = None

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.merged_adapters: list[str] = []
        self._unmerged: dict[str, Tensor] = {}

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Give what the module would return, computed in the copy's dtype, returned in the module's."""
        module = self._current()
        if module is self.base_layer:
            return module(*args, **kwargs)
        dtype = next(module.parameters()).dtype
        args = tuple(self._cast_input_dtype(arg, dtype) if _is_floating(arg) else arg for arg in args)
        return module(*args, **kwargs).to(next(self.base_layer.parameters()).dtype)

    def set_adapter(self, adapter_names: str | list[str], inference_mode: bool = False) -> None:
        """Set the active adapter.

        Raises:
            ValueError: For several at once.
        """
        active = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        active = [name for name in active if name in self.blocks]
        if len(active) > 1:
            raise ValueError(f"Full fine-tuning cannot have several adapters active at once, got {active}. Set one.")
        super().set_adapter(adapter_names, inference_mode)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Give the module the weights of the active copy."""
        for name in check_adapters_to_merge(self, adapter_names):
            if name in self.blocks:
                self._unmerged = {key: value.clone() for key, value in self.base_layer.state_dict().items()}
                self.base_layer.load_state_dict(self.blocks[name].state_dict())
                self.merged_adapters.append(name)

    def unmerge(self) -> None:
        """Give the module its own weights back."""
        if self.merged:
            self.base_layer.load_state_dict(self._unmerged)
            self.merged_adapters, self._unmerged = [], {}

    def _current(self) -> nn.Module:
        if self.disable_adapters and self.merged:
            self.unmerge()
        return self.base_layer if self.merged else next(iter(self.active_blocks().values()), self.base_layer)

    def __getattr__(self, name: str) -> Any:
        """Give attributes of the module, since Transformers looks into the embeddings."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in ("base_layer", *self.adapter_layer_names):
                raise
            return getattr(self._current(), name)


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


class FullFineTuningModel(EncoderTuner):
    """The tuner that trains a dual encoder as a whole; arguments and errors are those of `LayerTuner`."""

    title = "Full fine-tuning"
    layer_cls = TrainedCopies

    @classmethod
    def _example_blocks(cls) -> list[nn.Module]:
        return []  # copies consist of what the model consists of

    def _prepare_adapter_config(self, peft_config: FullFineTuningConfig, model_config: dict) -> FullFineTuningConfig:
        if peft_config.target_modules is None:
            peft_config = copy.copy(peft_config)  # the caller's may be used for another model
            peft_config.target_modules = "|".join(re.escape(name) for name in trained_modules(self.model))
        return peft_config

    def _prepare_model(self, peft_config: FullFineTuningConfig, model: nn.Module) -> None:
        """Check every target before the first is replaced: a refused configuration leaves the model as it was."""
        trained = set(trained_modules(model))
        for name, module in model.named_modules():
            if "base_layer" not in name and f".{self.containers[0]}" not in name:
                found = self._check_target_module_exists(peft_config, name)
                if found and name not in trained:
                    raise ValueError(
                        f"Full fine-tuning copies modules with weights of their own, or 'embeddings', not '{name}' "
                        f"({type(module).__name__}). Leave `target_modules` out, or name such modules."
                    )

    def _adapt(self, config: FullFineTuningConfig, adapter_name: str, layer: TrainedCopies, module_name: str) -> None:
        layer.update_layer(adapter_name, copy.deepcopy(layer.base_layer))


def trained_modules(model: nn.Module) -> list[str]:
    """Give the names of the modules that are copied: the outermost ones with weights of their own, and embeddings.

    Together they hold every parameter of the model but those of the model itself, which are the loss's.
    """
    found: list[str] = []

    def walk(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            full_name = f"{prefix}{name}"
            has_weights = next(child.parameters(recurse=False), None) is not None
            if name == POOLING:
                continue
            if isinstance(child, TrainedCopies) or name == "embeddings" or has_weights:
                found.append(full_name)
            else:
                walk(child, f"{full_name}.")

    walk(model, "")
    return found
