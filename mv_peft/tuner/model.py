"""`MVAdapterModel`: the tuner that PEFT puts around a CLIP model."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar, NoReturn

import torch
from peft.tuners.tuners_utils import BaseTuner, check_target_module_exists
from peft.utils import INCLUDE_LINEAR_LAYERS_SHORTHAND
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from . import video_input
from .adapter import TextAdapter, VideoAdapter
from .config import TOWERS, MVAdapterConfig, Tower
from .layer import CANNOT_MERGE, MVAdapterLayer, MVAdapterLinear, SharedFactors
from .register import PREFIX
from .routing import BASE_ADAPTER, route_saved_modules, routed
from .tying import CrossModalityTying

SHARED_FACTORS = "cross_modality_tying"  # where the factors live on the CLIP model
_LAYER = re.compile(r"(?:^|\.)(?P<tower>vision|text)_model\.(?:.*\.)?layers\.(?P<index>\d+)\.mlp\.fc2$")
_ADAPTER_PART = ".mv_adapter_block"  # in the names of what adapters consist of
_WRONG_TARGET = "MV-Adapter sits on `mlp.fc2` of CLIP's encoder layers"
_RIGHT_TARGET = "Leave `target_modules` out, or name layers by `layers_to_transform`."
_ALL_LAYERS = r"(?:.*\.)?(?:vision|text)_model\.(?:.*\.)?layers\.\d+\.mlp\.fc2"


class MVAdapterModel(BaseTuner):
    """Puts MV-Adapters (arXiv 2301.07868) into a Hugging Face CLIP model, and gives it videos as input.

    Args:
        model: A `CLIPModel`, or `CLIPVisionModelWithProjection` or `CLIPTextModelWithProjection` alone with
            `tying_layers=[]`.
        config: The adapter's configuration.
        adapter_name: The adapter's name.
        low_cpu_mem_usage: Creates the adapter's weights on the meta device, for loading.

    Raises:
        TypeError: If the model is not one of those.
        ValueError: If the configuration does not fit the model, or the name would be mistaken for a part of it.
    """

    prefix = PREFIX
    tuner_layer_cls = MVAdapterLayer
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """PEFT's injection, after the checks that need the model and before the hooks for video input."""
        video_input.check_model(model)
        config = self.peft_config[adapter_name]
        _check_adapter_name(model, adapter_name)
        config.tied_pairs(_num_layers(model, "vision"), _num_layers(model, "text"))
        _check_modules_to_save(model, config)
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        route_saved_modules(model)
        video_input.install(model, owner="tuner")

    def _prepare_adapter_config(self, peft_config: MVAdapterConfig, model_config: dict) -> MVAdapterConfig:
        if peft_config.target_modules is None:
            peft_config.target_modules = _ALL_LAYERS
        elif peft_config.target_modules == INCLUDE_LINEAR_LAYERS_SHORTHAND:
            raise ValueError(f"{_WRONG_TARGET}, not on '{INCLUDE_LINEAR_LAYERS_SHORTHAND}'. {_RIGHT_TARGET}")
        return peft_config

    def _prepare_model(self, peft_config: MVAdapterConfig, model: nn.Module) -> None:
        """Checks every target before the first is replaced: a refused config leaves the model as it was."""
        for tower in TOWERS:
            peft_config.adapted_layers(tower, _num_layers(model, tower))
        adapted = []
        for name, module in model.named_modules():
            if _ADAPTER_PART not in name and self._check_target_module_exists(peft_config, name):
                place = _place(name)
                if place is None:
                    raise ValueError(f"{_WRONG_TARGET}, not on '{name}' ({type(module).__name__}). {_RIGHT_TARGET}")
                adapted.append(place)
        for pair in self._tied_pairs(peft_config):
            for place in zip(TOWERS, pair, strict=True):
                if place not in adapted:
                    raise ValueError(
                        f"`tying_layers` names {place[0]} layer {place[1]}, which `target_modules` or "
                        "`exclude_modules` leaves without an adapter. Tie adapted layers, or none: `tying_layers=[]`."
                    )

    @staticmethod
    def _check_target_module_exists(peft_config: MVAdapterConfig, key: str) -> Any:
        # PEFT's own handling of layers knows neither towers nor regular expressions: it sees none, and ours follows.
        unrestricted = copy.copy(peft_config)
        unrestricted.layers_to_transform = None
        found = check_target_module_exists(unrestricted, key)
        place = _place(key)
        if not found or place is None:
            return found
        tower, index = place
        layers = peft_config.for_tower("layers_to_transform", tower)
        if layers is None:
            return found
        return index in ([layers] if isinstance(layers, int) else layers)

    def _create_and_replace(
        self,
        peft_config: MVAdapterConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        place = _place(current_key)
        assert place is not None, current_key
        layer = target if isinstance(target, MVAdapterLinear) else MVAdapterLinear(target)
        block = self._create_adapter(peft_config, *place, layer.out_features)
        shared = self._shared_factors(peft_config, adapter_name, layer.weight) if block.tying is not None else None
        layer.update_layer(adapter_name, block, shared)
        if layer is not target:
            self._replace_module(parent, target_name, layer, target)

    def _create_adapter(
        self, config: MVAdapterConfig, tower: Tower, index: int, model_dim: int
    ) -> VideoAdapter | TextAdapter:
        """A fresh adapter for one layer, initialised."""
        bottleneck_dim = config.for_tower("bottleneck_dim", tower)
        common: dict[str, Any] = {
            "num_heads": config.for_tower("num_heads", tower),
            "scaling": config.for_tower("scaling", tower),
            "pre_norm": config.pre_norm,
            "tying": None,
        }
        tied = [pair[tower == "text"] for pair in self._tied_pairs(config)]
        if index in tied:
            common["tying"] = CrossModalityTying(
                config.factor_dim, model_dim, bottleneck_dim, config.tying_position, tied.index(index)
            )
        adapter: VideoAdapter | TextAdapter
        if tower == "vision":
            adapter = VideoAdapter(
                model_dim,
                bottleneck_dim,
                max_frames=config.max_frames,
                temporal_adaptation=config.temporal_adaptation,
                calibration_dim=config.calibration_dim if config.calibration else None,
                **common,
            )
        else:
            adapter = TextAdapter(model_dim, bottleneck_dim, max_text_tokens=config.max_text_tokens, **common)
        adapter.reset_parameters(tying_init=config.tying_init, position_init_std=config.position_init_std)
        if not config.init_weights:
            adapter.randomise_zeros()
        return adapter

    def _tied_pairs(self, config: MVAdapterConfig) -> list[list[int]]:
        return config.tied_pairs(_num_layers(self.model, "vision"), _num_layers(self.model, "text"))

    def _shared_factors(self, config: MVAdapterConfig, adapter_name: str, like: Tensor) -> SharedFactors:
        """The model's shared factors, with this adapter's in them."""
        if not hasattr(self.model, SHARED_FACTORS):
            self.model.add_module(SHARED_FACTORS, SharedFactors())
        shared = getattr(self.model, SHARED_FACTORS)
        if adapter_name not in shared.mv_adapter_factors:
            shared.update_layer(adapter_name, len(self._tied_pairs(config)), config.factor_dim, like)
            if not config.init_weights:
                nn.init.normal_(shared.mv_adapter_factors[adapter_name])
        return shared

    def delete_adapter(self, adapter_name: str) -> None:
        """Deletes an adapter; if it was the active one, the first of the others takes over, the same in every layer."""
        active = self.active_adapters
        super().delete_adapter(adapter_name)
        remaining = [name for name in active if name != adapter_name] or sorted(self.peft_config)[:1]
        if adapter_name in active and remaining:
            self.set_adapter(remaining)

    def _check_merge_allowed(self) -> NoReturn:
        raise ValueError(CANNOT_MERGE)

    def _unload_and_optionally_merge(self, merge: bool = True, *args: Any, **kwargs: Any) -> nn.Module:
        if not merge:  # PEFT would leave the trained copies of `modules_to_save`; unloading gives the originals back
            for name, module in list(self.model.named_modules()):
                if isinstance(module, AuxiliaryTrainingWrapper):
                    self.model.set_submodule(name, module.original_module)
        model = super()._unload_and_optionally_merge(merge, *args, **kwargs)
        if hasattr(model, SHARED_FACTORS):
            delattr(model, SHARED_FACTORS)
        video_input.uninstall(model, owner="tuner")
        return model

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """Routes the rows of one call through the adapters that `adapter_names` names."""
        adapter_names = kwargs.get("adapter_names")
        with nullcontext() if adapter_names is None else routed(self.model, adapter_names):
            yield

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """`...fc2.mv_adapter_block.NAME.down.weight` -> `...fc2.mv_adapter_block.down.weight`, likewise the factors."""
        return re.sub(rf"(\.{PREFIX}[^.]+)\.{re.escape(adapter_name)}(?=\.|$)", r"\1", key, count=1)


def _place(module_name: str) -> tuple[Tower, int] | None:
    """Tower and layer of a module that can take an adapter; None for any other."""
    match = _LAYER.search(module_name)
    if match is None:
        return None
    return "vision" if match["tower"] == "vision" else "text", int(match["index"])


def _num_layers(model: nn.Module, tower: Tower) -> int:
    encoder = getattr(model, f"{tower}_model", None)
    return 0 if encoder is None else encoder.config.num_hidden_layers


def _adapter_parts() -> set[str]:
    """Names of the modules and parameters inside adapters, of every kind."""
    with torch.device("meta"):
        tying = CrossModalityTying(1, 1, 1, "down_in", 0)
        video = VideoAdapter(1, 1, num_heads=1, max_frames=1, scaling=1.0, pre_norm=True, tying=tying)
        text = TextAdapter(1, 1, num_heads=1, max_text_tokens=1, scaling=1.0)
    return {name for adapter in (video, text) for name, _ in (*adapter.named_modules(), *adapter.named_parameters())}


def _check_adapter_name(model: nn.Module, adapter_name: str) -> None:
    """PEFT tells adapters apart by elements of a state dict's keys: a name must not stand there already."""
    if not adapter_name or "." in adapter_name:
        raise ValueError(f"An adapter's name must be a word without dots, got {adapter_name!r}.")
    containers = (nn.ModuleDict(), nn.ParameterDict())
    if adapter_name == BASE_ADAPTER or any(hasattr(container, adapter_name) for container in containers):
        raise ValueError(f"The adapter's name {adapter_name!r} is a word of PEFT or PyTorch. Choose another.")
    taken = {"base_model", "model", "base_layer", "modules_to_save", "original_module"}
    taken |= {SHARED_FACTORS, "mv_adapter_block", "mv_adapter_factors"}
    for key in (*dict(model.named_modules()), *dict(model.named_parameters()), *_adapter_parts()):
        taken.update(key.split("."))
    if adapter_name in taken:
        raise ValueError(f"The adapter's name {adapter_name!r} is also that of a part of the model. Choose another.")


def _check_modules_to_save(model: nn.Module, config: MVAdapterConfig) -> None:
    """PEFT goes by the ends of names, after injection: an entry must end names of CLIP's modules only."""
    names = [name for name, _ in model.named_modules() if _ADAPTER_PART not in name]
    for wanted in config.modules_to_save or []:
        found = [name for name in names if name == wanted or name.endswith(f".{wanted}")]
        if not found:
            what = "is a parameter, not a module" if hasattr(model, wanted) else "is no module of the model"
            raise ValueError(f"`modules_to_save` names '{wanted}', which {what}. Name modules, as 'visual_projection'.")
        if any(f"{_ADAPTER_PART}.{part}".endswith(wanted) for part in _adapter_parts()):
            raise ValueError(
                f"`modules_to_save` names '{wanted}', which is also a part of the adapters. "
                f"Name more of it, as '{found[0].split('.', 1)[-1]}'."
            )
        inside = [name for name in names if _place(name) and any(f"{name}.".startswith(f"{f}.") for f in found)]
        if inside:
            raise ValueError(f"`modules_to_save` names '{wanted}', which holds the adapted '{inside[0]}'. Name less.")
