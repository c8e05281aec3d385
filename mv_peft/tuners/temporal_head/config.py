"""`TemporalHeadConfig`: the head, and the method beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from peft.config import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from ...encoders.pooling import POOLING
from ..base.checks import check_choice, check_positive_int, check_std
from ..base.register import peft_type

HeadInit = Literal["identity", "clip"]
HEAD_INITS = get_args(HeadInit)


@dataclass
class TemporalHeadConfig(PeftConfig):
    """Configuration of CLIP4Clip's temporal head (arXiv 2104.08860), alone or with a method for the encoders.

    Args:
        num_layers: Number of layers of the transformer.
        num_heads: Heads of its attention, dividing the width of the embeddings; None for one head per 64 channels.
        max_frames: The most frames a video may have.
        init: "identity" starts with the model unchanged; "clip" with copies from the text encoder, as CLIP4Clip does.
        position_init_std: Standard deviation of the positions for init="identity". Above 0 the model is changed from
            the start.
        method: Configuration of the method beside the head, such as `LoraConfig(...)`; None leaves the encoders
            frozen.

    Raises:
        ValueError: For a value out of range, naming the field and the value.
        TypeError: For a value of the wrong type.
    """

    peft_method: ClassVar[str] = "temporal_head"
    target_modules: ClassVar[str] = POOLING

    num_layers: int = 4
    num_heads: int | None = None
    max_frames: int = 12
    init: HeadInit = "identity"
    position_init_std: float = 0.0
    method: PeftConfig | dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type(self.peft_method)
        for name in ("num_layers", "max_frames"):
            check_positive_int(name, getattr(self, name))
        if self.num_heads is not None:
            check_positive_int("num_heads", self.num_heads)
        check_choice("init", self.init, HEAD_INITS)
        check_std("position_init_std", self.position_init_std)
        if self.init == "clip" and self.position_init_std:
            raise ValueError("`position_init_std` is for init='identity': init='clip' copies CLIP's positions.")
        if isinstance(self.method, PeftConfig):
            self.method = self.method.to_dict()
        if isinstance(self.method, dict):
            if self.method.get("peft_type") == self.peft_type:
                raise ValueError("`method` must be another method, got a temporal head.")
            # As a file would hold it, so that the saved configuration is always the same.
            self.method = {
                key: sorted(value) if isinstance(value, (set, frozenset)) else value
                for key, value in self.method.items()
            }
        elif self.method is not None:
            raise TypeError(f"`method` must be a PEFT configuration, got {self.method!r}.")

    def method_config(self) -> PeftConfig | None:
        """Give the configuration of the method beside the head."""
        if self.method is None:
            return None
        assert isinstance(self.method, dict)
        config = PEFT_TYPE_TO_CONFIG_MAPPING[self.method["peft_type"]](**self.method)
        config.inference_mode = self.inference_mode
        return config
