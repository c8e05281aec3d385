"""`TemporalHeadModel`: puts a temporal head into the pooling of frames, and the method beside it into the encoders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from peft.config import PeftConfig
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

from ...encoders.families import ModelTower, embedding_dim, towers
from ..base.names import current_key
from ..base.tuner import EncoderTuner
from .config import TemporalHeadConfig
from .layer import HeadedPooling, TemporalHead


class TemporalHeadModel(EncoderTuner):
    """The tuner of the temporal head (arXiv 2104.08860), which also gives a dual encoder videos as input.

    The head stands in the model's `video_pooling`. The tuner of the method beside it injects its layers under the
    adapter's name; from then on this tuner treats the layers of both alike, so that one file holds both.

    Args:
        model: A model of one of the families in `mv_peft.encoders.families`, with a vision tower.
        config: The head's configuration, with that of the method beside it.
        adapter_name: The adapter's name.
        low_cpu_mem_usage: Create the adapter's weights on the meta device, for loading.

    Raises:
        TypeError: If the model is none of those.
        ValueError: If the configuration does not fit the model, or the name would be mistaken for a part of it.
    """

    title = "A temporal head"
    layer_cls = HeadedPooling
    tuner_layer_cls = BaseTunerLayer

    def _before_injection(self, model: nn.Module, adapter_name: str, low_cpu_mem_usage: bool) -> None:
        """Inject the method beside the head."""
        method = self.peft_config[adapter_name].method_config()
        if method is not None:
            with _without_configurations(model):
                _tuner_of(method)(model, {adapter_name: method}, adapter_name, low_cpu_mem_usage=low_cpu_mem_usage)

    @classmethod
    def _example_blocks(cls) -> list[nn.Module]:
        return [TemporalHead(1, 1, 1, 1)]

    def _check_config(self, model: nn.Module, config: TemporalHeadConfig) -> None:
        found = towers(model)
        if "vision" not in found:
            raise ValueError(f"A temporal head needs a vision tower; {type(model).__name__} has none.")
        dim, num_heads = embedding_dim(model), _num_heads(model, config)
        if dim % num_heads:
            raise ValueError(f"`num_heads` = {num_heads} must divide the width of the embeddings, {dim}.")
        self._check_method(config)
        if config.init == "clip":
            text = found.get("text")
            if text is None or not _can_be_copied(text, dim):
                raise ValueError(
                    f"init='clip' copies layers of a text encoder like CLIP's, as wide as the embeddings, {dim}, with "
                    f"an MLP of ratio 4; {type(model).__name__} has "
                    f"{'none' if text is None else f'one of width {text.width}'}. Use init='identity'."
                )
            depth, positions = len(text.layers), text.config.max_position_embeddings
            if config.num_layers > depth or config.max_frames > positions:
                raise ValueError(
                    f"init='clip' has {depth} layers and {positions} positions to copy; the head has "
                    f"{config.num_layers} layers and {config.max_frames} frames. Use fewer, or init='identity'."
                )

    def _check_method(self, config: TemporalHeadConfig) -> None:
        """Check that all adapters are of one method: PEFT adapts no module inside what another method wraps."""
        wanted = config.method_config()
        if wanted is None:
            return
        _tuner_of(wanted)
        for name, other in self.peft_config.items():
            found = other.method_config() if isinstance(other, TemporalHeadConfig) else None
            if found is not None and found.peft_type != wanted.peft_type:
                raise ValueError(
                    f"The adapter {name!r} holds {found.peft_type.value} beside its head, this one "
                    f"{wanted.peft_type.value}. Adapters of one model need one method: put this one into another model."
                )

    def _adapt(self, config: TemporalHeadConfig, adapter_name: str, layer: HeadedPooling, module_name: str) -> None:
        head = TemporalHead(
            embedding_dim(self.model), config.num_layers, _num_heads(self.model, config), config.max_frames
        )
        found = towers(self.model)
        if config.init == "identity":
            head.reset_parameters(config.position_init_std)
        elif not head.positions.is_meta:
            head.copy_text_encoder(found["text"])
        layer.update_layer(adapter_name, head)
        if not head.positions.is_meta:  # the pooling has no weights to take device and dtype from
            weights = [weight for weight in found["vision"].module.parameters() if weight.is_floating_point()]
            head.to(device=weights[-1].device, dtype=weights[-1].dtype)

    @classmethod
    def _get_adapter_state_dict(
        cls,
        model: nn.Module,
        config: TemporalHeadConfig,
        adapter_name: str,
        state_dict: dict[str, Tensor],
        unwanted_adapter_names: list[str],
    ) -> dict[str, Tensor]:
        """Select the tensors of both; PEFT's methods see for themselves which layers are in the model."""
        method = config.method_config()
        select = super()._get_adapter_state_dict if method is None else _tuner_of(method)._get_adapter_state_dict
        return select(model, method or config, adapter_name, state_dict, unwanted_adapter_names)

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: TemporalHeadConfig, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        state_dict = {current_key(key): value for key, value in state_dict.items()}
        head = {key: value for key, value in state_dict.items() if f".{cls.containers[0]}." in key}
        rest = {key: value for key, value in state_dict.items() if key not in head}
        method = config.method_config()
        mapped = super()._remap_adapter_state_dict_for_load(model, config, adapter_name, head)
        if method is not None:
            rest = _tuner_of(method)._remap_adapter_state_dict_for_load(model, method, adapter_name, rest)
        return {**mapped, **rest}


@contextmanager
def _without_configurations(model: nn.Module) -> Iterator[None]:
    """Hide the configurations of this tuner from another one, which would adopt what it finds on the model."""
    ours = model.__dict__.pop("peft_config", None)
    try:
        yield
    finally:
        model.__dict__.pop("peft_config", None)
        if ours is not None:
            model.peft_config = ours


def _can_be_copied(text: ModelTower, dim: int) -> bool:
    """Whether the layers of a text tower have the form and the width of a head's."""
    return text.names.layer.pre_norm and text.width == dim and text.config.intermediate_size == 4 * dim


def _num_heads(model: nn.Module, config: TemporalHeadConfig) -> int:
    text = towers(model).get("text")
    if config.init == "clip" and config.num_heads is None and text is not None:
        return text.config.num_attention_heads
    return config.num_heads or max(1, embedding_dim(model) // 64)


def _tuner_of(method: PeftConfig) -> type[BaseTuner]:
    """Give the tuner class of the method beside a head.

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
    if issubclass(tuner_cls, EncoderTuner):
        return True
    names_in_files = (tuner_cls._remove_adapter_name_from_key, BaseTuner._remove_adapter_name_from_key)
    return (
        not tuner_cls.uses_shared_state
        and tuner_cls.forward is BaseTuner.forward
        and names_in_files[0].__func__ is names_in_files[1].__func__
    )
