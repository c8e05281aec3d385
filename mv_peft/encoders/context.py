"""How a layer learns of the batch it sees: its frame mask, and which rows go through which adapter.

Both travel as keyword arguments of the call, down to each layer's self-attention, and from there by thread to the same
layer's MLP. So they are right in any thread, with any number of forwards in flight, and when gradient checkpointing
runs a layer again. `PeftModel` keeps `adapter_names` to itself: those go by thread to the towers, and to the modules of
`modules_to_save`.
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
    """What an adapted layer has to know.

    Attributes:
        frame_mask: bool (batch, frames); None for captions and images.
        adapter_rows: For each adapter the videos or captions that go through it; None: all through the active ones.
    """

    frame_mask: Tensor | None = None
    adapter_rows: Mapping[str, Tensor] | None = None


_NO_CONTEXT = LayerContext()
_layer = threading.local()  # from a layer's self-attention to the same layer's MLP
_call = threading.local()  # from PeftModel.forward to the towers


def leave_layer_context(layer: nn.Module, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple:
    """Pre-hook of `layer`'s self-attention: takes the context off the call and leaves it to the layer's MLP."""
    context = LayerContext(kwargs.pop("frame_mask", None), kwargs.pop("adapter_rows", None))
    if getattr(getattr(layer.mlp, "fc2", None), "takes_layer_context", False):
        _layer.context = context
    return args, kwargs


def take_layer_context() -> LayerContext:
    """What the self-attention of the running layer left; empty where an MLP is called by hand."""
    context = getattr(_layer, "context", _NO_CONTEXT)
    _layer.context = _NO_CONTEXT
    return context


@contextmanager
def routed(model: nn.Module, adapter_names: Sequence[str]) -> Iterator[None]:
    """Routes the calls of this thread, one name a video and caption.

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
    """Turns a call's adapter names, by keyword or from `routed`, into `adapter_rows` of its keyword arguments.

    Args:
        model: The CLIP model, for the names of its adapters.
        kwargs: Keyword arguments of the tower, changed in place.
        count: Videos or captions in the batch.
        what: Which of the two, for the message.
        device: Where the rows are.

    Raises:
        ValueError: For an unknown name, a wrong number of names, or where not every part of the model would follow.
    """
    names, by_keyword = kwargs.pop("adapter_names", None), True
    if names is None:
        names, by_keyword = getattr(_call, "adapter_names", None), False
    if names is None:
        return
    deaf = {type(layer).__name__ for layer in model.modules() if _is_deaf(layer)}
    if deaf:
        raise ValueError(f"`adapter_names` is for MV-Adapter; the model holds {', '.join(sorted(deaf))}. Leave it out.")
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
    """Lets the modules of `modules_to_save` follow `routed`; each is hooked once."""
    for module in _saved_modules(model):
        if _name_rows not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(_name_rows, with_kwargs=True)


def _name_rows(module: AuxiliaryTrainingWrapper, args: tuple, kwargs: dict[str, Any]) -> tuple:
    """Names the adapter of each row in PEFT's way; inside the vision tower a video has a row a frame."""
    names = getattr(_call, "adapter_names", None)
    if names is not None:
        frames = args[0].shape[0] // len(names)
        names = [name if name in module._adapters else BASE_ADAPTER for name in names]
        kwargs["adapter_names"] = [name for name in names for _ in range(frames)]
    return args, kwargs


def _is_deaf(layer: nn.Module) -> bool:
    """Whether it has adapters and would give every row to the active ones, whatever `adapter_names` says."""
    return isinstance(layer, BaseTunerLayer) and not getattr(layer, "routes_rows", False)


def _saved_modules(model: nn.Module) -> list[AuxiliaryTrainingWrapper]:
    return [module for module in model.modules() if isinstance(module, AuxiliaryTrainingWrapper)]


def _checkpoints(model: nn.Module) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
