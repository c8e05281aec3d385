"""`MVAdapterConfig`: every choice of MV-Adapter, checked once, with the paper's defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from peft.config import PeftConfig

from .presets import PRESETS
from .register import mv_adapter_peft_type
from .tying import TYING_INITS, TYING_POSITIONS, TyingInit, TyingPosition

Tower = Literal["vision", "text"]
TOWERS: tuple[Tower, ...] = ("vision", "text")
# Far above what makes sense, and far below what would fill a memory: a configuration may come from a stranger.
MAX_SIZES = {
    "bottleneck_dim": 1024,
    "calibration_dim": 1024,
    "factor_dim": 4096,
    "max_frames": 4096,
    "max_text_tokens": 4096,
}
MAX_ENTRIES = 1024  # of a list of layers or names
T = TypeVar("T")


@dataclass
class MVAdapterConfig(PeftConfig):
    """Configuration of MV-Adapter (arXiv 2301.07868) for a Hugging Face CLIP model.

    Fields marked "per tower" also take `{"vision": x, "text": y}`.

    Args:
        bottleneck_dim: Width of the bottleneck; per tower. The paper: 64, for ViT-L/14 128.
        num_heads: Heads of the small transformers, dividing `bottleneck_dim`; per tower.
        scaling: Factor on the adapters' output; per tower.
        max_frames: The most frames a video may have.
        max_text_tokens: The most tokens a caption may have, [SOT] and [EOT] included.
        temporal_adaptation: Whether frames see each other. False leaves the vision branch down-projection, activation
            and up-projection, and with the small transformer goes its calibration: `calibration` becomes False.
        calibration: Whether the up-projection of [CLS] is calibrated frame by frame.
        calibration_dim: Hidden width of the calibration.
        tying_layers: Cross Modality Tying: n ties the last n layers of each tower, last with last; a list of
            `[vision_layer, text_layer]` ties those; 0 or [] ties none.
        tying_position: What the tied scale multiplies: "down_in", "down_out", "up_in" or "up_out".
        factor_dim: Length of the factor that a tied pair shares.
        tying_init: "paper" starts the tied scales random around 0, "identity" at 1.
        position_init_std: Standard deviation of the learned positions at the start.
        pre_norm: A LayerNorm on the adapters' input.
        layers_to_transform: Which layers get an adapter: None for all, a layer, or a list; per tower.
        target_modules: Names or a regular expression that narrow the adapted `mlp.fc2` further; None for all.
        exclude_modules: Names or a regular expression of modules to leave out.
        modules_to_save: Names of CLIP's modules that are trained in full and saved with the adapter.
        init_weights: True starts as the paper does, with CLIP unchanged; False randomises what would be zero (tests).

    Raises:
        ValueError: For a value out of range, naming the field and the value.
        TypeError: For a value of the wrong type.
    """

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
    tying_init: TyingInit = "paper"
    position_init_std: float = 0.01
    pre_norm: bool = False
    layers_to_transform: int | list[int] | dict[str, Any] | None = None
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = field(default=None)
    init_weights: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = mv_adapter_peft_type()
        for name in ("max_frames", "max_text_tokens", "calibration_dim", "factor_dim"):
            _check_positive_int(name, getattr(self, name))
        for name in ("temporal_adaptation", "calibration", "pre_norm", "init_weights"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"`{name}` must be True or False, got {getattr(self, name)!r}.")
        for name in ("bottleneck_dim", "num_heads", "scaling", "layers_to_transform"):
            _check_towers(name, getattr(self, name))
        for tower in TOWERS:
            self._check_widths(tower)
        layers = self.layers_to_transform
        if isinstance(layers, dict):
            self.layers_to_transform = {tower: _checked_layers(layers[tower]) for tower in TOWERS}
        else:
            self.layers_to_transform = _checked_layers(layers)
        if not _is_real(self.position_init_std) or self.position_init_std < 0:
            raise ValueError(f"`position_init_std` must be a number of at least 0, got {self.position_init_std!r}.")
        _check_choice("tying_position", self.tying_position, TYING_POSITIONS)
        _check_choice("tying_init", self.tying_init, TYING_INITS)
        self.tying_layers = _checked_tying_layers(self.tying_layers)
        if not self.temporal_adaptation:
            self.calibration = False
        for name in ("target_modules", "exclude_modules", "modules_to_save"):
            setattr(self, name, _checked_names(name, getattr(self, name)))

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> MVAdapterConfig:
        """The published setting of a benchmark: "activitynet", "didemo", "lsmdc", "msrvtt" or "msvd".

        Args:
            name: The benchmark.
            overrides: Fields that replace the preset's.

        Raises:
            ValueError: For an unknown name.
        """
        if not isinstance(name, str) or name not in PRESETS:
            raise ValueError(f"Unknown preset {name!r}. Choose from: {', '.join(PRESETS)}.")
        return cls(**{**PRESETS[name], **overrides})

    def for_tower(self, name: str, tower: Tower) -> Any:
        """The value of a per-tower field for one tower."""
        value = getattr(self, name)
        return value[tower] if isinstance(value, dict) else value

    def tied_pairs(self, vision_layers: int, text_layers: int) -> list[list[int]]:
        """The tied `[vision_layer, text_layer]` pairs in towers of these depths.

        Raises:
            ValueError: If a tied layer does not exist or has no adapter.
        """
        pairs = self.tying_layers
        if isinstance(pairs, int):
            if pairs > min(vision_layers, text_layers):
                raise ValueError(
                    f"`tying_layers` = {pairs} exceeds the model's {vision_layers} vision and {text_layers} text "
                    "layers. Tie fewer; a tower alone needs `tying_layers=[]`."
                )
            pairs = [[vision_layers - n, text_layers - n] for n in range(pairs, 0, -1)]
        for tower, depth, layers in zip(TOWERS, (vision_layers, text_layers), zip(*pairs, strict=True), strict=False):
            adapted = self.adapted_layers(tower, depth)
            missing = [layer for layer in layers if layer not in adapted]
            if missing:
                raise ValueError(
                    f"`tying_layers` names {tower} layers {missing} without an adapter; adapted are {adapted}. "
                    "Tie adapted layers, or none with `tying_layers=[]`."
                )
        return pairs

    def adapted_layers(self, tower: Tower, num_layers: int) -> list[int]:
        """The layers of a tower of `num_layers` that `layers_to_transform` names.

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

    def _check_widths(self, tower: Tower) -> None:
        dim, heads = self.for_tower("bottleneck_dim", tower), self.for_tower("num_heads", tower)
        _check_positive_int("bottleneck_dim", dim)
        _check_positive_int("num_heads", heads)
        if dim % heads:
            raise ValueError(f"`num_heads` = {heads} must divide `bottleneck_dim` = {dim} in the {tower} tower.")
        scaling = self.for_tower("scaling", tower)
        if not _is_real(scaling):
            raise ValueError(f"`scaling` must be a finite number, got {scaling!r}.")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check_positive_int(name: str, value: Any) -> None:
    if not _is_int(value):
        raise TypeError(f"`{name}` must be an integer, got {value!r}.")
    if value < 1:
        raise ValueError(f"`{name}` must be positive, got {value}.")
    if value > MAX_SIZES.get(name, value):
        raise ValueError(f"`{name}` must be at most {MAX_SIZES[name]}, got {value}.")


def _check_entries(name: str, value: Any) -> None:
    if isinstance(value, (list, tuple, set, frozenset)) and len(value) > MAX_ENTRIES:
        raise ValueError(f"`{name}` must have at most {MAX_ENTRIES} entries, got {len(value)}.")


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"Unknown `{name}` {value!r}. Choose from: {', '.join(choices)}.")


def _check_towers(name: str, value: Any) -> None:
    if isinstance(value, dict) and set(value) != set(TOWERS):
        raise ValueError(f"`{name}` must have the keys 'vision' and 'text', got {sorted(map(str, value))}.")


def _checked_layers(value: Any) -> int | list[int] | None:
    _check_entries("layers_to_transform", value)
    many = isinstance(value, (list, tuple, set, frozenset))
    if value is not None and not all(_is_int(layer) and layer >= 0 for layer in (value if many else [value])):
        raise ValueError(f"`layers_to_transform` must name layers from 0 up, got {value!r}.")
    return sorted(set(value)) if many else value


def _checked_tying_layers(value: Any) -> int | list[list[int]]:
    if _is_int(value):
        if value < 0:
            raise ValueError(f"`tying_layers` must be a number of layers or a list of pairs, got {value}.")
        return value
    _check_entries("tying_layers", value)
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"`tying_layers` must be a number of layers or a list of pairs, got {value!r}.")
    pairs = [list(pair) if isinstance(pair, (list, tuple)) else [pair] for pair in value]
    for pair in pairs:
        if len(pair) != 2 or not all(_is_int(layer) and layer >= 0 for layer in pair):
            raise ValueError(f"`tying_layers` must hold [vision_layer, text_layer] pairs, got {value!r}.")
    for layers in zip(*pairs, strict=True):
        if len(set(layers)) < len(layers):
            raise ValueError(f"`tying_layers` must name each layer of a tower once, got {value!r}.")
    return pairs


def _checked_names(name: str, value: Any) -> list[str] | str | None:
    """Names as a sorted list where they came as a set: the saved config is then the same every time."""
    if value is None or (isinstance(value, str) and name != "modules_to_save"):
        return value
    _check_entries(name, value)
    many = isinstance(value, (list, tuple, set, frozenset))
    if not many or not all(isinstance(item, str) for item in value):
        raise TypeError(f"`{name}` must hold names, got {value!r}.")
    return sorted(value) if isinstance(value, (set, frozenset)) else list(value)
