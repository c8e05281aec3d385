"""How a layer learns about the batch that it sees: the one way, for every method.

A layer of the vision tower works on hidden states (batch * frames, tokens, dim) and cannot tell which frames belong
together, nor which are padding. A layer of the text tower does not know which tokens are padding. So whoever writes a
method asks for the context of the running layer:

    from mv_peft.encoders.context import layer_context

    class MyLayer(AdaptedModule):
        def forward(self, hidden):
            context = layer_context()
            context.frame_mask      # bool (batch, frames), True on real frames; None for images and captions
            context.token_mask      # bool (captions, tokens), True on words; None where padding is not hidden
            context.adapter_rows    # adapter -> numbers of its videos or captions, for `adapter_names`; None otherwise

`layer_context()` may be called by the MLP of an encoder layer and any module inside it, and by an `AdaptedLayer`, which
stands around a layer. Outside of a running layer it is empty.

How it gets there: `video_input.py` puts the three values into the keyword arguments of the tower, which hands them down
to every encoder layer and its self-attention, as Transformers does with all its keyword arguments. A hook on the
self-attention takes them off the call and keeps them by thread until the layer's MLP is done. Keyword arguments are
right with any number of forwards in flight, and they are there again when gradient checkpointing runs a layer a second
time, which context variables, attributes and PEFT's forward context are not. The hooks are inside the layer, since
checkpointing repeats a layer's `forward` without the hooks on the layer itself.

Three things travel beside this:
- `PeftModel` keeps `adapter_names` to itself; `routed` brings them to the towers, and to modules of `modules_to_save`.
- The frame mask that the pooling needs: `hand_to_pooling` and `take_for_pooling`, from the vision tower to the
  projection that follows it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn

BASE_ADAPTER = "__base__"  # PEFT's name for "no adapter" in `adapter_names`


class LayerContext(NamedTuple):
    """What an adapted layer may have to know.

    Attributes:
        frame_mask: True on real frames, bool (batch, frames); None for captions and images.
        token_mask: True on tokens that others may see, bool (captions, tokens); None where all are seen, in causal
            towers, and for videos.
        adapter_rows: For each adapter the numbers of the videos or captions that go through it; None where all go
            through the active adapters.
    """

    frame_mask: Tensor | None = None
    token_mask: Tensor | None = None
    adapter_rows: Mapping[str, Tensor] | None = None


_EMPTY = LayerContext()
_layer = threading.local()  # from a layer's self-attention to the end of its MLP
_pooling = threading.local()  # from the vision tower to the projection behind it
_call = threading.local()  # from PeftModel.forward to the towers


def layer_context() -> LayerContext:
    """What the running encoder layer was told; empty outside of one."""
    return getattr(_layer, "context", _EMPTY)


def enter_layer(attention: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple:
    """Take the context off the call of a layer's self-attention; a forward pre-hook of that."""
    _layer.context = LayerContext(*(kwargs.pop(name, None) for name in LayerContext._fields))
    return args, kwargs


def enter_around_layer(wrapper: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
    """Read the context of a module around an encoder layer, and leave it to the layer; a forward pre-hook."""
    _layer.context = LayerContext(*(kwargs.get(name) for name in LayerContext._fields))


def leave_layer(mlp: nn.Module, args: tuple, output: Any) -> None:
    """Forget the context; a forward hook of a layer's MLP that is called after an exception, too."""
    _layer.context = _EMPTY


def hand_to_pooling(frame_mask: Tensor) -> None:
    """Leave the frame mask of this thread's forward to the projection behind the vision tower."""
    _pooling.frame_mask = frame_mask


def take_for_pooling() -> Tensor | None:
    """Take what `hand_to_pooling` left; None if that was taken already."""
    frame_mask = getattr(_pooling, "frame_mask", None)
    _pooling.frame_mask = None
    return frame_mask


@contextmanager
def routed(model: nn.Module, adapter_names: Sequence[str]) -> Iterator[None]:
    """Route the calls of this thread through the named adapters, one name for each video and its caption.

    Raises:
        ValueError: For a mixed batch that would be trained wrongly.
    """
    if torch.is_grad_enabled() and _saved_modules(model) and _checkpoints(model):
        raise ValueError(
            "`adapter_names` with `modules_to_save` cannot be trained under gradient checkpointing. "
            "Turn one of the three off."
        )
    _call.adapter_names = tuple(adapter_names)
    try:
        yield
    finally:
        _call.adapter_names = None


def route_rows(model: nn.Module, kwargs: dict[str, Any], count: int, what: str, device: torch.device) -> None:
    """Turn a call's adapter names, given by keyword or by `routed`, into `adapter_rows` among its keyword arguments.

    Args:
        model: The dual encoder, for the names of its adapters.
        kwargs: Keyword arguments of the tower, changed in place.
        count: Number of videos or captions in the batch.
        what: Which of the two, for the message.
        device: Device of the row numbers.

    Raises:
        ValueError: For an unknown name, a wrong number of names, or where a part of the model would not follow.
    """
    names, by_keyword = kwargs.pop("adapter_names", None), True
    if names is None:
        names, by_keyword = getattr(_call, "adapter_names", None), False
    if names is None:
        return
    others = {type(layer).__name__ for layer in model.modules() if _ignores_rows(layer)}
    if others:
        raise ValueError(
            f"`adapter_names` is not understood by {', '.join(sorted(others))}, which the model holds. Leave it out."
        )
    known = [BASE_ADAPTER, *getattr(model, "peft_config", {})]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"`adapter_names` has unknown adapters {unknown}. Choose from: {', '.join(known)}.")
    if len(names) != count:
        raise ValueError(f"`adapter_names` must have one name for each of the {count} {what}, got {len(names)}.")
    if by_keyword and _saved_modules(model):
        raise ValueError(
            "`adapter_names` reaches modules of `modules_to_save` through the PeftModel only. Call `model(...)` itself."
        )
    kwargs["adapter_rows"] = {
        name: torch.tensor([row for row, other in enumerate(names) if other == name], device=device)
        for name in sorted(set(names) - {BASE_ADAPTER})
    }


def route_saved_modules(model: nn.Module) -> None:
    """Let the modules of `modules_to_save` follow `routed`; each is hooked once."""
    for module in _saved_modules(model):
        if _name_rows not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(_name_rows, with_kwargs=True)


def _name_rows(module: AuxiliaryTrainingWrapper, args: tuple, kwargs: dict[str, Any]) -> tuple:
    """Name the adapter of each row in PEFT's way; inside the vision tower a video has one row for each frame."""
    names = getattr(_call, "adapter_names", None)
    if names is not None:
        frames = args[0].shape[0] // len(names)
        names = [name if name in module._adapters else BASE_ADAPTER for name in names]
        kwargs["adapter_names"] = [name for name in names for _ in range(frames)]
    return args, kwargs


def _ignores_rows(layer: nn.Module) -> bool:
    """Whether a layer has adapters and sends every row through the active ones, whatever `adapter_names` says."""
    return isinstance(layer, BaseTunerLayer) and not getattr(layer, "routes_rows", False)


def _saved_modules(model: nn.Module) -> list[AuxiliaryTrainingWrapper]:
    return [module for module in model.modules() if isinstance(module, AuxiliaryTrainingWrapper)]


def _checkpoints(model: nn.Module) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
