"""`MVAdapterConfig`: every choice of MV-Adapter, checked once, with the paper's defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ...encoders.families import TOWERS, TowerName
from ..base.checks import (
    check_choice,
    check_entries,
    check_flag,
    check_number,
    check_positive_int,
    check_std,
    check_towers,
    is_int,
)
from ..base.config import LayerTunerConfig
from .presets import PRESETS
from .tying import TYING_INITS, TYING_POSITIONS, TyingInit, TyingPosition


@dataclass
class MVAdapterConfig(LayerTunerConfig):
    """Configuration of MV-Adapter (arXiv 2301.07868) for a dual encoder of Transformers.

    Fields marked "per tower" also take `{"vision": x, "text": y}`.

    Args:
        bottleneck_dim: Width of the bottleneck; per tower. The paper: 64, for ViT-L/14 128.
        num_heads: Heads of the small transformers, dividing `bottleneck_dim`; per tower.
        scaling: Factor on the adapters' output; per tower.
        max_frames: The most frames a video may have.
        max_text_tokens: The most tokens a caption may have, begin and end tokens included. Where the model pads every
            caption to its full length, as SigLIP does, the adapter has that many positions.
        temporal_adaptation: Whether frames see each other. False leaves the vision branch down-projection, activation
            and up-projection, and with the small transformer goes its calibration: `calibration` becomes False.
        calibration: Whether the up-projection of [CLS], or of what stands for it, is calibrated frame by frame.
        calibration_dim: Hidden width of the calibration.
        tying_layers: Cross Modality Tying. An integer n, at most the number of layers of the shorter tower, ties the
            last n adapted layers of each tower, last with last, or as many as are adapted in both; a list of
            `[vision_layer, text_layer]` ties those; 0 or [] ties none.
        tying_position: What the tied scale multiplies: "down_in", "down_out", "up_in" or "up_out".
        factor_dim: Length of the factor that a tied pair shares.
        tying_init: "identity" starts the tied scales at 1; "paper", as published, random around 0, which was behind by
            two to four points of R@1 on rendered clips (`docs/results/shapes.md`).
        position_init_std: Standard deviation of the learned positions at the start.
        pre_norm: A LayerNorm on the adapters' input.
        layers_to_transform: Which layers get an adapter: None for all, a layer, or a list; per tower.
        target_modules: Names or a regular expression that narrow the adapted second projections of the MLPs
            further; None for all.
        exclude_modules: Names or a regular expression of modules to leave out.
        modules_to_save: Names of the model's modules that are trained in full and saved with the adapter.
        init_weights: True starts as the paper does, with the model unchanged; False, for tests, randomises what would
            be zero.

    Raises:
        ValueError: For a value out of range, naming the field and the value.
        TypeError: For a value of the wrong type.
    """

    peft_method: ClassVar[str] = "mv_adapter"

    bottleneck_dim: int | dict[str, int] = 64
    num_heads: int | dict[str, int] = 2
    scaling: float | dict[str, float] = 0.1
    max_frames: int = 12
    max_text_tokens: int = 32
    temporal_adaptation: bool = True
    calibration: bool = True
    calibration_dim: int = 16
    tying_layers: int | list[list[int]] = 2
    tying_position: TyingPosition = "down_in"
    factor_dim: int = 32
    tying_init: TyingInit = "identity"
    position_init_std: float = 0.01
    pre_norm: bool = False
    init_weights: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_frames", "max_text_tokens", "calibration_dim", "factor_dim"):
            check_positive_int(name, getattr(self, name))
        for name in ("temporal_adaptation", "calibration", "pre_norm", "init_weights"):
            check_flag(name, getattr(self, name))
        for name in ("bottleneck_dim", "num_heads", "scaling"):
            check_towers(name, getattr(self, name))
        for tower in TOWERS:
            self._check_widths(tower)
        check_std("position_init_std", self.position_init_std)
        check_choice("tying_position", self.tying_position, TYING_POSITIONS)
        check_choice("tying_init", self.tying_init, TYING_INITS)
        self.tying_layers = _checked_tying_layers(self.tying_layers)
        if not self.temporal_adaptation:
            self.calibration = False

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> MVAdapterConfig:
        """Give the published setting of a benchmark: "activitynet", "didemo", "lsmdc", "msrvtt" or "msvd".

        Args:
            name: The benchmark.
            overrides: Fields that replace the preset's.

        Raises:
            ValueError: For an unknown name.
        """
        if not isinstance(name, str) or name not in PRESETS:
            raise ValueError(f"Unknown preset {name!r}. Choose from: {', '.join(PRESETS)}.")
        return cls(**{**PRESETS[name], **overrides})

    def tied_pairs(self, vision_layers: Sequence[int], text_layers: Sequence[int]) -> list[list[int]]:
        """Give the tied `[vision_layer, text_layer]` pairs.

        Args:
            vision_layers: The adapted layers of the vision tower, in order.
            text_layers: Likewise of the text tower.

        Raises:
            ValueError: If `tying_layers` names a layer that has no adapter.
        """
        adapted = {"vision": list(vision_layers), "text": list(text_layers)}
        if isinstance(self.tying_layers, int):
            number = min(self.tying_layers, *map(len, adapted.values()))
            return [[adapted["vision"][-n], adapted["text"][-n]] for n in range(number, 0, -1)]
        for tower, layers in zip(TOWERS, zip(*self.tying_layers, strict=True), strict=False):
            missing = [layer for layer in layers if layer not in adapted[tower]]
            if missing:
                raise ValueError(
                    f"`tying_layers` names {tower} layers {missing} without an adapter; adapted are {adapted[tower]}. "
                    "Tie adapted layers, or none with `tying_layers=[]`."
                )
        return self.tying_layers

    def _check_widths(self, tower: TowerName) -> None:
        dim, heads = self.for_tower("bottleneck_dim", tower), self.for_tower("num_heads", tower)
        check_positive_int("bottleneck_dim", dim)
        check_positive_int("num_heads", heads)
        if dim % heads:
            raise ValueError(f"`num_heads` = {heads} must divide `bottleneck_dim` = {dim} in the {tower} tower.")
        check_number("scaling", self.for_tower("scaling", tower))


def _checked_tying_layers(value: Any) -> int | list[list[int]]:
    if is_int(value):
        if value < 0:
            raise ValueError(f"`tying_layers` must be a number of layers or a list of pairs, got {value}.")
        return value
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"`tying_layers` must be a number of layers or a list of pairs, got {value!r}.")
    check_entries("tying_layers", value)
    pairs = [list(pair) if isinstance(pair, (list, tuple)) else [pair] for pair in value]
    for pair in pairs:
        if len(pair) != 2 or not all(is_int(layer) and layer >= 0 for layer in pair):
            raise ValueError(f"`tying_layers` must hold [vision_layer, text_layer] pairs, got {value!r}.")
    for layers in zip(*pairs, strict=True):
        if len(set(layers)) < len(layers):
            raise ValueError(f"`tying_layers` must name each layer of a tower once, got {value!r}.")
    return pairs
