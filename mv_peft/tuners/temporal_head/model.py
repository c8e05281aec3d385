"""`TemporalHeadModel`: puts a temporal head behind CLIP's frame embeddings, and the method beside it into CLIP."""

from __future__ import annotations

from peft.config import PeftConfig
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

from ..base.layer_tuner import num_layers
from ..base.tuner import CLIPTuner
from .config import TemporalHeadConfig
from .layer import HeadedProjection, TemporalHead


class TemporalHeadModel(CLIPTuner):
    """Puts temporal heads (arXiv 2104.08860) into a Hugging Face CLIP model, and gives it videos as input.

    The tuner of the method beside the head injects its layers under the adapter's name; from then on this tuner treats
    layers of both alike.

    Args:
        model: A `CLIPModel` or `CLIPVisionModelWithProjection`.
        config: The head's configuration, with that of the method beside it.
        adapter_name: The adapter's name.
        low_cpu_mem_usage: Creates the adapter's weights on the meta device, for loading.

    Raises:
        TypeError: If the model is not one of those.
        ValueError: If the configuration does not fit the model, or the name would be mistaken for a part of it.
    """

    prefix = "temporal_head_"
    title = "A temporal head"
    layer_cls = HeadedProjection
    tuner_layer_cls = BaseTunerLayer
    containers = HeadedProjection.adapter_layer_names
    cannot_merge = HeadedProjection.cannot_merge

    def _before_injection(self, model: nn.Module, adapter_name: str, low_cpu_mem_usage: bool) -> None:
        """Injects the method beside the head."""
        method = self.peft_config[adapter_name].method_config()
        if method is None:
            return
        tuner_cls = _tuner_of(method)
        # A tuner adopts the configurations that it finds on the model: those are ours, of another method.
        ours = model.__dict__.pop("peft_config", None)
        # And it must see the projection under the heads of other adapters, not adapt those.
        headed = model.visual_projection
        if isinstance(headed, HeadedProjection):
            model.visual_projection = headed.base_layer
        try:
            tuner_cls(model, {adapter_name: method}, adapter_name, low_cpu_mem_usage=low_cpu_mem_usage)
        finally:
            if isinstance(headed, HeadedProjection):
                headed.base_layer = model.visual_projection
                model.visual_projection = headed
            model.__dict__.pop("peft_config", None)
            if ours is not None:
                model.peft_config = ours

    @classmethod
    def _example_blocks(cls) -> list[nn.Module]:
        return [TemporalHead(1, 1, 1, 1)]

    def _check_config(self, model: nn.Module, config: TemporalHeadConfig) -> None:
        if not hasattr(model, "visual_projection"):
            raise ValueError(f"A temporal head needs a vision tower; {type(model).__name__} has none.")
        dim, num_heads = model.config.projection_dim, _num_heads(model, config)
        if dim % num_heads:
            raise ValueError(f"`num_heads` = {num_heads} must divide the width of the embeddings, {dim}.")
        self._check_method(config)
        if config.init == "clip":
            text = model.config.text_config if hasattr(model, "text_model") else None
            width = None if text is None else text.hidden_size
            if text is None or width != dim or text.intermediate_size != 4 * dim:
                raise ValueError(
                    f"init='clip' copies layers of a text encoder as wide as the embeddings, {dim}, with an MLP of "
                    f"ratio 4; this one's width is {width}. Use init='identity'."
                )
            depth = num_layers(model, "text")
            if config.num_layers > depth or config.max_frames > text.max_position_embeddings:
                raise ValueError(
                    f"init='clip' has {depth} layers and {text.max_position_embeddings} positions to copy; the head "
                    f"has {config.num_layers} layers and {config.max_frames} frames. Use fewer, or init='identity'."
                )

    def _check_method(self, config: TemporalHeadConfig) -> None:
        """As adapters of a PeftModel are of one type: PEFT adapts no module inside what another method wraps."""
        wanted = config.method_config()
        if wanted is None:
            return
        _tuner_of(wanted)
        for name, other in self.peft_config.items():
            found = other.method_config() if isinstance(other, TemporalHeadConfig) else None
            if found is not None and found.peft_type != wanted.peft_type:
                raise ValueError(
                    f"The adapter {name!r} holds {found.peft_type.value} beside its head, this one "
                    f"{wanted.peft_type.value}. Adapters of one model need one method: load this one into another CLIP."
                )

    def _adapt(self, config: TemporalHeadConfig, adapter_name: str, layer: HeadedProjection, module_name: str) -> None:
        head = TemporalHead(
            self.model.config.projection_dim,
            config.num_layers,
            _num_heads(self.model, config),
            config.max_frames,
        )
        if config.init == "identity":
            head.reset_parameters(config.position_init_std)
        elif not head.positions.is_meta:
            head.copy_text_encoder(self.model.text_model)
        layer.update_layer(adapter_name, head)

    @classmethod
    def _get_adapter_state_dict(
        cls,
        model: nn.Module,
        config: TemporalHeadConfig,
        adapter_name: str,
        state_dict: dict[str, Tensor],
        unwanted_adapter_names: list[str],
    ) -> dict[str, Tensor]:
        """Of both: which layers are in the model PEFT's methods see themselves."""
        method = config.method_config()
        select = super()._get_adapter_state_dict if method is None else _tuner_of(method)._get_adapter_state_dict
        return select(model, method or config, adapter_name, state_dict, unwanted_adapter_names)

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: TemporalHeadConfig, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        head = {key: value for key, value in state_dict.items() if f".{cls.containers[0]}." in key}
        rest = {key: value for key, value in state_dict.items() if key not in head}
        method = config.method_config()
        mapped = super()._remap_adapter_state_dict_for_load(model, config, adapter_name, head)
        if method is not None:
            rest = _tuner_of(method)._remap_adapter_state_dict_for_load(model, method, adapter_name, rest)
        return {**mapped, **rest}


def _num_heads(model: nn.Module, config: TemporalHeadConfig) -> int:
    if config.init == "clip" and config.num_heads is None:
        return model.config.text_config.num_attention_heads
    return config.num_heads or max(1, model.config.projection_dim // 64)


def _tuner_of(method: PeftConfig) -> type[BaseTuner]:
    """The tuner class of the method beside a head.

    Raises:
        ValueError: If the method keeps state or does work outside its layers, which would be lost.
    """
    tuner_cls = PEFT_TYPE_TO_TUNER_MAPPING.get(method.peft_type)
    if tuner_cls is None or not issubclass(tuner_cls, BaseTuner) or not _lives_in_layers(tuner_cls):
        raise ValueError(
            f"A temporal head does not go with {method.peft_type.value}, which does more than its layers do. "
            "Choose LoRA or another method that lives in its layers."
        )
    return tuner_cls


def _lives_in_layers(tuner_cls: type[BaseTuner]) -> bool:
    if issubclass(tuner_cls, CLIPTuner):
        return True
    names_in_files = (tuner_cls._remove_adapter_name_from_key, BaseTuner._remove_adapter_name_from_key)
    return (
        not tuner_cls.uses_shared_state
        and tuner_cls.forward is BaseTuner.forward
        and names_in_files[0].__func__ is names_in_files[1].__func__
    )
