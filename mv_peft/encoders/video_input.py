"""Videos as input of a dual encoder: 5-D pixel values with a frame mask, one embedding for each video.

Hooks on the towers do it, on zero-shot models and under every method alike:

1. Before the vision tower, (batch, frames, 3, height, width) becomes a batch of images, padded frames black, and the
   frame mask is put on its way to the layers (`context.py`). Before the text tower, the mask of real tokens is, where
   the family hides padding from a tower that is not causal.
2. In each encoder layer the self-attention takes both off its call, for the adapters in the layer.
3. Behind the vision tower, the pooled output becomes (batch, frames, dim) again, and `model.video_pooling` makes one
   embedding of it: behind the projection into the joint space, where the family has one, else at once.

Which modules these are is said by the table in `families.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .context import enter_layer, hand_to_pooling, leave_layer, route_rows, take_for_pooling
from .families import DualEncoder, ModelTower, towers
from .pooling import POOLING, MeanOfFrames

ModelT = TypeVar("ModelT", bound=nn.Module)


@dataclass
class _VideoInput:
    """The hooks on one dual encoder, and who asked for them: "user", "tuner"."""

    family: DualEncoder
    owners: set[str] = field(default_factory=set)
    handles: list[RemovableHandle] = field(default_factory=list)
    hooked_projection: nn.Module | None = None


_ATTRIBUTE = "_mv_peft_video_input"


def enable_video(model: ModelT, *, pooling: nn.Module | None = None) -> ModelT:
    """Let a dual encoder take videos, in place: plain, with any PEFT adapter, or fully trainable.

    Afterwards `pixel_values` may have shape (batch, frames, 3, height, width), with an optional `frame_mask`
    (batch, frames), 1 on real frames, wherever the model takes pixels; `image_embeds`, `logits_per_text`,
    `logits_per_image` and `loss` are those of the videos. 4-D pixel values mean what they meant before.

    Args:
        model: A model of one of the families in `mv_peft.encoders.families`, or a `PeftModel` of one.
        pooling: The module that makes a video's embedding of those of its frames, derived from `MeanOfFrames`; None
            for the mean of the normalised embeddings of the real frames. It becomes `model.video_pooling`.

    Returns:
        The same model.

    Raises:
        TypeError: For any other model.
        ValueError: If `pooling` is given and the model has no vision tower, or holds another pooling already.
    """
    install(_base_model(model), owner="user", pooling=pooling)
    return model


def disable_video(model: ModelT) -> ModelT:
    """Undo `enable_video`, in place.

    Raises:
        ValueError: While the model holds an adapter that cannot do without; `unload()` removes both.
    """
    base = _base_model(model)
    state = getattr(base, _ATTRIBUTE, None)
    if state is not None and "tuner" in state.owners:
        raise ValueError(
            "The model holds an adapter that needs video input (MV-Adapter or a rival of this package). "
            "Use `unload()` to remove it first."
        )
    uninstall(base, owner="user")
    return model


def install(model: nn.Module, owner: str, *, pooling: nn.Module | None = None) -> None:
    """Install the hooks on a dual encoder, or note one more owner of those that are there."""
    state = getattr(model, _ATTRIBUTE, None)
    if pooling is not None and (state is not None or "vision" not in towers(model)):
        reason = "takes videos already" if state is not None else "has no vision tower"
        raise ValueError(f"`pooling` has no effect: the {type(model).__name__} {reason}. Leave it out.")
    if state is None:
        state = _VideoInput(DualEncoder.of(model))
        for tower in towers(model).values():
            _hook_tower(model, tower, state)
            if tower.name == "vision":
                model.add_module(POOLING, MeanOfFrames() if pooling is None else pooling)
        setattr(model, _ATTRIBUTE, state)
    state.owners.add(owner)
    _follow_projection(model, state)


def is_installed(model: nn.Module) -> bool:
    """Whether a dual encoder takes videos."""
    return hasattr(model, _ATTRIBUTE)


def uninstall(model: nn.Module, owner: str) -> None:
    """Take an owner off; remove the hooks with the last one."""
    state = getattr(model, _ATTRIBUTE, None)
    if state is None:
        return
    state.owners.discard(owner)
    if state.owners:
        _follow_projection(model, state)
        return
    for handle in state.handles:
        handle.remove()
    if state.hooked_projection is not None:
        _unhook_projection(getattr(model, state.family.projection))
    if hasattr(model, POOLING):
        delattr(model, POOLING)
    delattr(model, _ATTRIBUTE)


def _base_model(model: nn.Module) -> nn.Module:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    DualEncoder.of(base)
    return base


def _hook_tower(model: nn.Module, tower: ModelTower, state: _VideoInput) -> None:
    """Hook a tower and its layers; the layers inside of whatever PEFT has put around them."""
    before = _before_vision if tower.name == "vision" else partial(_before_text, hides_padding=not tower.names.causal)
    state.handles.append(tower.module.register_forward_pre_hook(partial(before, model), with_kwargs=True))
    for layer in tower.layers:
        while isinstance(inner := getattr(layer, "base_layer", None), nn.Module):
            layer = inner
        attention, mlp = (layer.get_submodule(name) for name in (tower.names.layer.attention, tower.names.layer.mlp))
        state.handles.append(attention.register_forward_pre_hook(enter_layer, with_kwargs=True))
        state.handles.append(mlp.register_forward_hook(leave_layer, always_call=True))
    if tower.name == "vision":
        hook = partial(_after_vision, model)
        state.handles.append(tower.module.register_forward_hook(hook, with_kwargs=True))


def _follow_projection(model: nn.Module, state: _VideoInput) -> None:
    """Hook whatever stands at the projection now: PEFT may have wrapped it since, and the hook belongs outside."""
    projection = getattr(model, state.family.projection or "", None)
    if projection is None or projection is state.hooked_projection:
        return
    _unhook_projection(projection)
    projection.register_forward_hook(partial(_after_projection, model))
    state.hooked_projection = projection


def _unhook_projection(projection: nn.Module) -> None:
    """Unhook a projection, the modules inside a wrapper, and copies that `modules_to_save` made of a hooked module."""
    for module in projection.modules():
        for key in [key for key, hook in module._forward_hooks.items() if _is_after_projection(hook)]:
            del module._forward_hooks[key]


def _is_after_projection(hook: Any) -> bool:
    return isinstance(hook, partial) and hook.func is _after_projection


def _before_vision(model: nn.Module, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple:
    """Fold the frames into the batch, and put mask and adapter rows on their way to the layers."""
    pixel_values, args = (args[0], args[1:]) if args else (kwargs.pop("pixel_values", None), ())
    frame_mask = kwargs.pop("frame_mask", None)
    _drop_no_embeds(kwargs)
    take_for_pooling()  # left by a tower that was called without its projection
    if pixel_values is not None:
        _follow_projection(model, getattr(model, _ATTRIBUTE))
        if pixel_values.dim() not in (4, 5):
            raise ValueError(
                "`pixel_values` must have shape (batch, frames, 3, height, width), or (batch, 3, height, width) for "
                f"images, got {tuple(pixel_values.shape)}."
            )
        if pixel_values.dim() == 4 and frame_mask is not None:
            pixel_values = pixel_values.unsqueeze(1)
        route_rows(model, kwargs, pixel_values.shape[0], "videos", pixel_values.device)
        if pixel_values.dim() == 5:
            frame_mask, pixel_values = _fold(pixel_values, frame_mask)
            kwargs["frame_mask"] = frame_mask
    return (pixel_values, *args), kwargs


def _fold(pixel_values: Tensor, frame_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Give the mask as bool (batch, frames), and the frames as a batch of images, padded ones black."""
    shape = pixel_values.shape[:2]
    if 0 in shape:
        raise ValueError(f"`pixel_values` must hold at least one video of one frame, got shape {tuple(shape)}.")
    if frame_mask is None:
        return torch.ones(shape, dtype=torch.bool, device=pixel_values.device), pixel_values.flatten(0, 1)
    if not isinstance(frame_mask, Tensor):
        raise TypeError(f"`frame_mask` must be a tensor, got {type(frame_mask).__name__}.")
    if frame_mask.shape != shape:
        raise ValueError(
            f"`frame_mask` must have shape (batch, frames) = {tuple(shape)}, got {tuple(frame_mask.shape)}."
        )
    mask = frame_mask.bool()
    # Values cannot be looked at while tracing; otherwise one look, since on a GPU each waits for the device.
    if not torch.compiler.is_compiling() and bool((frame_mask != mask).any() | ~mask.any(dim=1).all()):
        if bool((frame_mask != mask).any()):
            raise ValueError("`frame_mask` must be 1 on real frames and 0 on padded ones, got other values.")
        empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
        raise ValueError(f"`frame_mask` leaves no real frame to the videos at {empty}. Drop them from the batch.")
    mask = mask.to(pixel_values.device)
    # Not multiplied: what stands in padded frames may be NaN.
    pixel_values = pixel_values.masked_fill(~mask[:, :, None, None, None], 0)
    return mask, pixel_values.flatten(0, 1)


def _before_text(
    model: nn.Module, module: nn.Module, args: tuple, kwargs: dict[str, Any], *, hides_padding: bool
) -> tuple:
    """Drop the frame mask, which a dual encoder gives to both towers, and send the mask of real tokens on its way."""
    kwargs.pop("frame_mask", None)
    _drop_no_embeds(kwargs)
    input_ids = args[0] if args else kwargs.get("input_ids")
    if input_ids is not None:
        route_rows(model, kwargs, input_ids.shape[0], "captions", input_ids.device)
    attention_mask = args[1] if len(args) > 1 else kwargs.get("attention_mask")
    if hides_padding and isinstance(attention_mask, Tensor) and attention_mask.dim() == 2:
        kwargs["token_mask"] = attention_mask.bool()
    return args, kwargs


def _drop_no_embeds(kwargs: dict[str, Any]) -> None:
    """Drop `inputs_embeds=None`, which PEFT's model for task_type="FEATURE_EXTRACTION" hands on to CLIP."""
    if "inputs_embeds" in kwargs and kwargs["inputs_embeds"] is None:
        del kwargs["inputs_embeds"]


def _after_vision(model: nn.Module, module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
    """Unfold the pooled output to (batch, frames, dim), and pool it unless a projection comes first."""
    frame_mask = kwargs.get("frame_mask")
    projects = getattr(model, _ATTRIBUTE).family.projection is not None
    if frame_mask is None and projects:
        return output
    pooled = output[1]
    if pooled is None:
        raise ValueError(f"The {type(module).__name__} has no pooled output. Use a model with its pooling head.")
    if frame_mask is not None:
        pooled = pooled.unflatten(0, frame_mask.shape)
        pooled = pooled.masked_fill(~frame_mask[..., None], 0)
    if not projects:
        pooled = _pool(model, pooled, frame_mask)
    elif frame_mask is not None:
        hand_to_pooling(frame_mask)
    if isinstance(output, tuple):
        return (output[0], pooled, *output[2:])
    output.pooler_output = pooled
    return output


def _after_projection(model: nn.Module, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
    """Pool what the projection made of a video's frames; anything else that is projected stays as it is."""
    frame_mask = take_for_pooling()
    return output if output.dim() == 3 and frame_mask is None else _pool(model, output, frame_mask)


def _pool(model: nn.Module, embeds: Tensor, frame_mask: Tensor | None) -> Tensor:
    """Make one embedding for each video; images, (batch, dim), stay what they are but for `refine`."""
    pooling: Any = getattr(model, POOLING)
    if frame_mask is not None:
        return pooling(embeds, frame_mask)
    mask = torch.ones(len(embeds), 1, dtype=torch.bool, device=embeds.device)
    return pooling.refine(embeds[:, None], mask)[:, 0]
