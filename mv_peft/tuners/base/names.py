"""Names that PEFT would misread; it tells adapters and trained modules apart by elements and ends of names."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import nn

from ...encoders.context import BASE_ADAPTER
from ...encoders.pooling import POOLING


def part_names(blocks: Collection[nn.Module]) -> set[str]:
    """Give the names of the modules and parameters inside adapters."""
    return {name for block in blocks for name, _ in (*block.named_modules(), *block.named_parameters())}


def check_adapter_name(model: nn.Module, adapter_name: str, parts: set[str], containers: Collection[str]) -> None:
    """Check that an adapter's name is no element of a state dict's keys, by which PEFT tells adapters apart.

    Args:
        model: The base model.
        adapter_name: The name of the adapter to come.
        parts: Names of what such adapters consist of.
        containers: Names of what holds them.

    Raises:
        ValueError: If the name would lose weights.
    """
    if not adapter_name or "." in adapter_name:
        raise ValueError(f"An adapter's name must be a word without dots, got {adapter_name!r}.")
    dicts = (nn.ModuleDict(), nn.ParameterDict())
    if adapter_name == BASE_ADAPTER or any(hasattr(each, adapter_name) for each in dicts):
        raise ValueError(f"The adapter's name {adapter_name!r} is a word of PEFT or PyTorch. Choose another.")
    taken = {"base_model", "model", "base_layer", "modules_to_save", "original_module", *containers}
    for key in (*dict(model.named_modules()), *dict(model.named_parameters()), *parts):
        taken.update(key.split("."))
    if adapter_name in taken:
        raise ValueError(f"The adapter's name {adapter_name!r} is also that of a part of the model. Choose another.")


def check_modules_to_save(
    model: nn.Module, wanted_names: Collection[str], is_adapted: Callable[[str], bool], container: str, parts: set[str]
) -> None:
    """Check that entries of `modules_to_save` end names of the base model's modules only, as PEFT goes by ends.

    Args:
        model: The base model.
        wanted_names: The entries of `modules_to_save`.
        is_adapted: Whether a module of this name can take an adapter.
        container: Name of what holds adapters in a layer.
        parts: Names of what the adapters consist of.

    Raises:
        ValueError: If an entry names no module, or also others than it seems to.
    """
    names = [name for name, _ in model.named_modules() if f".{container}" not in name]
    for wanted in wanted_names:
        found = [name for name in names if name == wanted or name.endswith(f".{wanted}")]
        if not found:
            what = "is a parameter, not a module" if hasattr(model, wanted) else "is no module of the model"
            raise ValueError(f"`modules_to_save` names '{wanted}', which {what}. Name modules, as 'visual_projection'.")
        if any(f".{container}.{part}".endswith(wanted) for part in parts):
            raise ValueError(
                f"`modules_to_save` names '{wanted}', which is also a part of the adapters. "
                f"Name more of it, as '{found[0].split('.', 1)[-1]}'."
            )
        inside = [name for name in names if is_adapted(name) and any(f"{name}.".startswith(f"{f}.") for f in found)]
        if inside:
            raise ValueError(f"`modules_to_save` names '{wanted}', which holds the adapted '{inside[0]}'. Name less.")
        for name in found:
            adapted = next((other for other in names if is_adapted(other) and name.startswith(f"{other}.")), None)
            if adapted is not None and not f".{name.removeprefix(adapted)[1:]}".endswith(f".{wanted}"):
                raise ValueError(
                    f"`modules_to_save` names '{wanted}', in which the adapted '{adapted}' gets another name. "
                    f"Name it from there: '{name.removeprefix(adapted)[1:]}'."
                )


def current_key(key: str) -> str:
    """Give the present name of a tensor in the file of an adapter that version 0.1.0 may have written.

    There a temporal head stood behind the projection; now it stands in the pooling.
    """
    return key.replace(".visual_projection.temporal_head_block.", f".{POOLING}.temporal_head_block.")
