"""`MVAdapterModel`: the tuner that PEFT puts around a CLIP model."""

from __future__ import annotations

from typing import Any, ClassVar

from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from ..base.checks import TOWERS, Tower
from ..base.layer_tuner import LayerTuner, num_layers
from .adapter import TextAdapter, VideoAdapter
from .config import MVAdapterConfig
from .layer import CANNOT_MERGE, MVAdapterLayer, MVAdapterLinear, SharedFactors
from .switching import SwitchBoard
from .tying import CrossModalityTying

SHARED_FACTORS = "cross_modality_tying"  # where the factors live on the CLIP model


class MVAdapterModel(LayerTuner):
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

    prefix = "mv_adapter_"
    title = "MV-Adapter"
    adapted_module = "mlp.fc2"
    layer_cls = MVAdapterLinear
    tuner_layer_cls = MVAdapterLayer
    containers: ClassVar[tuple[str, ...]] = (SHARED_FACTORS, "mv_adapter_block", "mv_adapter_factors")
    cannot_merge = CANNOT_MERGE
    _switch_board: SwitchBoard | None = None  # made at the first switch after adapters came or went

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """As in `CLIPTuner`."""
        self._switch_board = None
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        self._switch_board = None

    def delete_adapter(self, adapter_name: str) -> None:
        """As in `CLIPTuner`."""
        self._switch_board = None
        super().delete_adapter(adapter_name)
        self._switch_board = None

    def set_adapter(self, adapter_name: str | list[str], inference_mode: bool = False) -> None:
        """Makes one or several adapters the active ones, as PEFT's own method does, in a fraction of its time."""
        board = self._switch_board
        if board is None or not board.is_current():
            if any(isinstance(module, AuxiliaryTrainingWrapper) for module in self.model.modules()):
                super().set_adapter(adapter_name, inference_mode)  # the modules of `modules_to_save` switch, too
                return
            board = self._switch_board = SwitchBoard(self.model)
        board.switch([adapter_name] if isinstance(adapter_name, str) else adapter_name, inference_mode)
        self.active_adapter = adapter_name

    @classmethod
    def _example_blocks(cls) -> list[nn.Module]:
        tying = CrossModalityTying(1, 1, 1, "down_in", 0)
        video = VideoAdapter(1, 1, num_heads=1, max_frames=1, scaling=1.0, pre_norm=True, tying=tying)
        return [video, TextAdapter(1, 1, num_heads=1, max_text_tokens=1, scaling=1.0)]

    def _check_config(self, model: nn.Module, config: MVAdapterConfig) -> None:
        config.tied_pairs(num_layers(model, "vision"), num_layers(model, "text"))
        super()._check_config(model, config)

    def _prepare_model(self, peft_config: MVAdapterConfig, model: nn.Module) -> None:
        """Checks every target before the first is replaced: a refused config leaves the model as it was."""
        adapted = self._adapted_places(peft_config, model)
        for pair in self._tied_pairs(peft_config):
            for place in zip(TOWERS, pair, strict=True):
                if place not in adapted:
                    raise ValueError(
                        f"`tying_layers` names {place[0]} layer {place[1]}, which `target_modules` or "
                        "`exclude_modules` leaves without an adapter. Tie adapted layers, or none: `tying_layers=[]`."
                    )

    def _add_adapter(
        self, config: MVAdapterConfig, adapter_name: str, tower: Tower, index: int, layer: MVAdapterLinear
    ) -> None:
        super()._add_adapter(config, adapter_name, tower, index, layer)
        if layer.blocks[adapter_name].tying is not None:
            layer.share(self._shared_factors(config, adapter_name, layer.weight))

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
        return config.tied_pairs(num_layers(self.model, "vision"), num_layers(self.model, "text"))

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
