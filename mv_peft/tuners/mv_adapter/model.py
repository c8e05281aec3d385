"""`MVAdapterModel`: the tuner that PEFT puts around a dual encoder."""

from __future__ import annotations

from typing import Any, ClassVar

from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from ...encoders.families import TOWERS, DualEncoder, LayerNames, ModelTower, TowerName
from ..base.tuner import LayerTuner
from .adapter import TextAdapter, VideoAdapter
from .config import MVAdapterConfig
from .layer import MVAdapterLayer, MVAdapterLinear, SharedFactors
from .switching import SwitchBoard
from .tying import CrossModalityTying

SHARED_FACTORS = "cross_modality_tying"  # where the factors live on the base model


class MVAdapterModel(LayerTuner):
    """The tuner of MV-Adapter (arXiv 2301.07868), which also gives a dual encoder videos as input.

    Arguments and errors are those of `LayerTuner`.
    """

    title = "MV-Adapter"
    layer_cls = MVAdapterLinear
    tuner_layer_cls = MVAdapterLayer
    containers: ClassVar[tuple[str, ...]] = (SHARED_FACTORS, "mv_adapter_block", "mv_adapter_factors")
    _switch_board: SwitchBoard | None = None  # made at the first switch after adapters came or went
    _pairs: list[list[int]]  # tied layers of the adapter that is being injected

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Inject as `EncoderTuner` does."""
        self._switch_board = None
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        self._switch_board = None

    def delete_adapter(self, adapter_name: str) -> None:
        """Delete as `EncoderTuner` does."""
        self._switch_board = None
        super().delete_adapter(adapter_name)
        self._switch_board = None

    def set_adapter(self, adapter_name: str | list[str], inference_mode: bool = False) -> None:
        """Make one or several adapters the active ones, as PEFT's own method does, in a fraction of its time."""
        board = self._switch_board
        if board is None or not board.is_current():
            if any(isinstance(module, AuxiliaryTrainingWrapper) for module in self.model.modules()):
                super().set_adapter(adapter_name, inference_mode)  # the modules of `modules_to_save` switch, too
                return
            board = self._switch_board = SwitchBoard(self.model)
        board.switch([adapter_name] if isinstance(adapter_name, str) else adapter_name, inference_mode)
        self.active_adapter = adapter_name

    @classmethod
    def _adapted_module(cls, names: LayerNames) -> str:
        return names.mlp_out

    @classmethod
    def _example_blocks(cls) -> list[nn.Module]:
        tying = CrossModalityTying(1, 1, 1, "down_in", 0)
        video = VideoAdapter(1, 1, num_heads=1, max_frames=1, scaling=1.0, pre_norm=True, tying=tying)
        return [video, TextAdapter(1, 1, num_heads=1, max_text_tokens=1, scaling=1.0)]

    def _prepare_model(self, peft_config: MVAdapterConfig, model: nn.Module) -> None:
        """Check every target before the first is replaced: a refused configuration leaves the model as it was."""
        adapted = self._adapted_layers(peft_config, model)
        depths = {name: len(tower.layers) for name, tower in self._towers.items()}
        tied = peft_config.tying_layers
        if isinstance(tied, int) and len(depths) == 2 and tied > min(depths.values()):
            raise ValueError(
                f"`tying_layers` = {tied} exceeds the model's {depths['vision']} vision and {depths['text']} text "
                f"layers. Tie at most {min(depths.values())}."
            )
        of_tower: dict[TowerName, list[int]] = {
            tower: sorted(index for name, index in adapted if name == tower) for tower in TOWERS
        }
        self._pairs = peft_config.tied_pairs(of_tower["vision"], of_tower["text"])

    def _add_adapter(
        self, config: MVAdapterConfig, adapter_name: str, tower: ModelTower, index: int, layer: MVAdapterLinear
    ) -> None:
        super()._add_adapter(config, adapter_name, tower, index, layer)
        if layer.blocks[adapter_name].tying is not None:
            layer.share(self._shared_factors(config, adapter_name, layer.weight))

    def _create_adapter(self, config: MVAdapterConfig, tower: ModelTower, index: int) -> VideoAdapter | TextAdapter:
        bottleneck_dim = config.for_tower("bottleneck_dim", tower.name)
        common: dict[str, Any] = {
            "num_heads": config.for_tower("num_heads", tower.name),
            "scaling": config.for_tower("scaling", tower.name),
            "pre_norm": config.pre_norm,
            "tying": None,
        }
        tied = [pair[TOWERS.index(tower.name)] for pair in self._pairs]
        if index in tied:
            common["tying"] = CrossModalityTying(
                config.factor_dim, tower.width, bottleneck_dim, config.tying_position, tied.index(index)
            )
        adapter: VideoAdapter | TextAdapter
        if tower.name == "vision":
            adapter = VideoAdapter(
                tower.width,
                bottleneck_dim,
                max_frames=config.max_frames,
                class_token=tower.names.class_token,
                temporal_adaptation=config.temporal_adaptation,
                calibration_dim=config.calibration_dim if config.calibration else None,
                **common,
            )
        else:
            adapter = TextAdapter(
                tower.width,
                bottleneck_dim,
                max_text_tokens=self._num_text_positions(config, tower),
                causal=tower.names.causal,
                **common,
            )
        adapter.reset_parameters(tying_init=config.tying_init, position_init_std=config.position_init_std)
        if not config.init_weights:
            adapter.randomise_zeros()
        return adapter

    def _num_text_positions(self, config: MVAdapterConfig, tower: ModelTower) -> int:
        if DualEncoder.of(self.model).padding == "max_length":
            return tower.config.max_position_embeddings
        return config.max_text_tokens

    def _shared_factors(self, config: MVAdapterConfig, adapter_name: str, like: Tensor) -> SharedFactors:
        """Give the model's shared factors, with this adapter's in them."""
        if not hasattr(self.model, SHARED_FACTORS):
            self.model.add_module(SHARED_FACTORS, SharedFactors())
        shared = getattr(self.model, SHARED_FACTORS)
        if adapter_name not in shared.mv_adapter_factors:
            shared.update_layer(adapter_name, len(self._pairs), config.factor_dim, like)
            if not config.init_weights:
                nn.init.normal_(shared.mv_adapter_factors[adapter_name])
        return shared
