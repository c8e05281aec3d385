"""Registration of our methods with PEFT, whose registry accepts only members of its enum `PeftType`.

`import mv_peft` calls `register_public_methods` as soon as PEFT is loaded.
"""

from __future__ import annotations

from importlib import import_module

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING
from peft.utils import register_peft_method
from peft.utils.peft_types import PeftType

_registered: list[PeftType] = []


def register_public_methods() -> None:
    """Register every `NameConfig` among the public names of `mv_peft.tuners`, with its `NameModel`.

    Raises:
        RuntimeError: If another package has registered a method of one of our names.
    """
    tuners = import_module("mv_peft.tuners")
    for name in tuners.__all__:
        if name.endswith("Config"):
            model = f"{name.removesuffix('Config')}Model"
            if model not in tuners.__all__:
                raise RuntimeError(f"mv_peft/tuners/__init__.pyi has {name} and no {model}. Add it.")
            register(getattr(tuners, name), getattr(tuners, model))


def register(config_cls: type, model_cls: type) -> None:
    """Register a method with PEFT under its config's `peft_method`. A second call with the same classes does nothing.

    Raises:
        RuntimeError: If another package has registered a method of that name.
    """
    method: str = config_cls.peft_method  # type: ignore[attr-defined]
    member = peft_type(method)
    registered = PEFT_TYPE_TO_CONFIG_MAPPING.get(member)
    if registered is config_cls:
        return
    if registered is not None:
        raise RuntimeError(
            f"PEFT method '{member.value}' is already registered by '{registered.__module__}'. "
            "Import mv_peft alone, or use a PEFT without that method."
        )
    register_peft_method(name=method, config_cls=config_cls, model_cls=model_cls)
    _registered.append(member)


def peft_type(method: str) -> PeftType:
    """Return a method's member of `PeftType`, adding it at the first call: "mv_adapter" gives `PeftType.MV_ADAPTER`.

    Raises:
        RuntimeError: If this version of PEFT builds its enum in a way that cannot be extended.
    """
    value = method.upper()
    if value not in PeftType.__members__:
        member = str.__new__(PeftType, value)
        member._name_ = value
        member._value_ = value
        member.__objclass__ = PeftType
        member._sort_order_ = len(PeftType.__members__)
        PeftType._member_names_.append(value)
        PeftType._member_map_[value] = member
        PeftType._value2member_map_[value] = member
        # EnumType refuses to set members; from Python 3.12 on attribute access needs the class attribute.
        type.__setattr__(PeftType, value, member)
    member = PeftType.__members__[value]
    if PeftType(value) is not member or getattr(PeftType, value) is not member:
        raise RuntimeError(
            f"PEFT's PeftType cannot be extended by '{value}'. Install a version of peft that mv_peft is tested with."
        )
    return member


def prefixes() -> list[str]:
    """List the prefixes of the names under which our layers hold adapters, one for each registered method."""
    return [PEFT_TYPE_TO_PREFIX_MAPPING[member] for member in _registered]
