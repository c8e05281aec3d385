"""Gives a Hugging Face CLIP videos as input: 5-D pixel values with a frame mask, one embedding a video.

A pre-hook on the vision model folds (batch, frames, 3, height, width) to images and sends the frame mask on its way to
the layers (`routing.py`). The pooled output of the vision model is unfolded to (batch, frames, dim), zeros in padded
frames, and a hook on `visual_projection` pools its result over the real frames:

    v_f = projection(frame f) / ||.||        v = sum_f mask_f v_f / sum_f mask_f

CLIP itself then normalises v. The same hooks serve MV-Adapter, zero-shot CLIP, LoRA and full fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle
from transformers import CLIPModel, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from .context import leave_layer_context, route_rows

SUPPORTED_MODELS = (CLIPModel, CLIPVisionModelWithProjection, CLIPTextModelWithProjection)

ModelT = TypeVar("ModelT", bound=nn.Module)


@dataclass
class _VideoInput:
    """The hooks on one CLIP model and who asked for them: "user", "tuner"."""

    owners: set[str] = field(default_factory=set)
    handles: list[RemovableHandle] = field(default_factory=list)
    pooled_module: nn.Module | None = None


_ATTRIBUTE = "_mv_peft_video_input"


def enable_video(model: ModelT) -> ModelT:
    """Lets a CLIP model take videos, in place: plain, with any PEFT adapter, or fully trainable.

    Afterwards `pixel_values` may have shape (batch, frames, 3, height, width), with an optional `frame_mask`
    (batch, frames), 1 on real frames, wherever the model takes pixels; `image_embeds`, `logits_per_text`,
    `logits_per_image` and `loss` are those of the videos: mean of the normalised embeddings of the real frames. 4-D
    pixel values mean what they meant before.

    Args:
        model: A `CLIPModel`, `CLIPVisionModelWithProjection` or `CLIPTextModelWithProjection`, or a `PeftModel` of one.

    Returns:
        The same model.

    Raises:
        TypeError: For any other model.
    """
    install(_base_model(model), owner="user")
    return model


def disable_video(model: ModelT) -> ModelT:
    """Undoes `enable_video`, in place.

    Raises:
        ValueError: While the model holds an adapter that cannot do without; `unload()` removes both.
    """
    base = _base_model(model)
    state = getattr(base, _ATTRIBUTE, None)
    if state is not None and "tuner" in state.owners:
        raise ValueError(
            "The model holds an adapter that needs video input (MV-Adapter or a baseline). "
            "Use `unload()` to remove it first."
        )
    uninstall(base, owner="user")
    return model


def check_model(model: nn.Module) -> None:
    """Raises TypeError unless `model` is one of the CLIP classes that mv_peft knows."""
    if not isinstance(model, SUPPORTED_MODELS):
        names = ", ".join(cls.__name__ for cls in SUPPORTED_MODELS)
        raise TypeError(f"mv_peft adapts the CLIP of Transformers ({names}), got {type(model).__name__}.")


def install(model: nn.Module, owner: str) -> None:
    """Installs the hooks on a CLIP model, or notes one more owner of those that are there."""
    check_model(model)
    state = getattr(model, _ATTRIBUTE, None)
    if state is None:
        state = _VideoInput()
        setattr(model, _ATTRIBUTE, state)
        for tower, before in (("vision_model", _before_vision), ("text_model", _before_text)):
            if not hasattr(model, tower):
                continue
            encoder = getattr(model, tower)
            state.handles.append(encoder.register_forward_pre_hook(partial(before, model), with_kwargs=True))
            for module in encoder.modules():
                if hasattr(module, "self_attn"):
                    hook = partial(leave_layer_context, module)
                    state.handles.append(module.self_attn.register_forward_pre_hook(hook, with_kwargs=True))
        if hasattr(model, "vision_model"):
            state.handles.append(model.vision_model.register_forward_hook(_after_vision, with_kwargs=True))
    state.owners.add(owner)
    _place_pooling(model, state)


def uninstall(model: nn.Module, owner: str) -> None:
    """Takes an owner off; removes the hooks with the last one."""
    state = getattr(model, _ATTRIBUTE, None)
    if state is None:
        return
    state.owners.discard(owner)
    if state.owners:
        _place_pooling(model, state)
        return
    for handle in state.handles:
        handle.remove()
    if state.pooled_module is not None:
        _remove_pooling(model.visual_projection)
    delattr(model, _ATTRIBUTE)


def _base_model(model: nn.Module) -> nn.Module:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    check_model(base)
    return base


def _place_pooling(model: nn.Module, state: _VideoInput) -> None:
    """Pools at whatever stands at `visual_projection` now: PEFT may have wrapped it since the last look."""
    projection = getattr(model, "visual_projection", None)
    if projection is None or projection is state.pooled_module:
        return
    _remove_pooling(projection)
    projection.register_forward_hook(_pool_frames)
    state.pooled_module = projection


def _remove_pooling(projection: nn.Module) -> None:
    """Also from the modules inside a wrapper, and from copies that `modules_to_save` made of a hooked module."""
    for module in projection.modules():
        for key in [key for key, hook in module._forward_hooks.items() if hook is _pool_frames]:
            del module._forward_hooks[key]


def _before_vision(model: nn.Module, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple:
    """Folds the frames into the batch and puts mask and names where the layers find them."""
    pixel_values, args = (args[0], args[1:]) if args else (kwargs.pop("pixel_values", None), ())
    frame_mask = kwargs.pop("frame_mask", None)
    _drop_no_embeds(kwargs)
    if pixel_values is not None:
        _place_pooling(model, getattr(model, _ATTRIBUTE))
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
    """The mask as bool (batch, frames), and the frames as a batch of images, padded ones black."""
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


def _before_text(model: nn.Module, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple:
    """Captions have no frames: drops the mask, which CLIPModel gives to both towers."""
    kwargs.pop("frame_mask", None)
    _drop_no_embeds(kwargs)
    input_ids = args[0] if args else kwargs.get("input_ids")
    if input_ids is not None:
        route_rows(model, kwargs, input_ids.shape[0], "captions", input_ids.device)
    return args, kwargs


def _drop_no_embeds(kwargs: dict[str, Any]) -> None:
    """PEFT's model for task_type="FEATURE_EXTRACTION" always hands on `inputs_embeds`, of which CLIP has no notion."""
    if "inputs_embeds" in kwargs and kwargs["inputs_embeds"] is None:
        del kwargs["inputs_embeds"]


def _after_vision(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
    """Unfolds the pooled output to (batch, frames, dim), zeros in padded frames."""
    frame_mask = kwargs.get("frame_mask")
    if frame_mask is None:
        return output
    pooled = output[1].unflatten(0, frame_mask.shape)
    pooled = pooled.masked_fill(~frame_mask[..., None], 0)
    if isinstance(output, tuple):
        return (output[0], pooled, *output[2:])
    output.pooler_output = pooled
    return output


def _pool_frames(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
    """Mean of the unit vectors of the real frames: (batch, frames, dim) -> (batch, dim).

    Padded frames are known by an input of zeros, whatever the projection makes of it.
    """
    if output.dim() != 3:
        return output
    real = (args[0] != 0).any(dim=-1, keepdim=True)
    frames = F.normalize(output.to(torch.promote_types(output.dtype, torch.float32)), dim=-1)
    return (frames.masked_fill(~real, 0).sum(dim=1) / real.sum(dim=1)).to(output.dtype)
