"""A method of the comparison -> a model: what its file says, and the lengths that follow from the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from peft.config import PeftConfig
from torch import nn
from transformers import PreTrainedModel, set_seed

from mv_peft.encoders import MVProcessor
from mv_peft.tuners import create_method, method_config

from .method import Method, load_method
from .settings import RunSettings

HEAD = "head"


def build(clip: PreTrainedModel, processor: MVProcessor, method: Method, settings: RunSettings) -> nn.Module:
    """Put the method into the CLIP, initialised from the run's seed."""
    name, fields = name_and_fields(clip, processor, method, settings)
    set_seed(settings.seed)
    return create_method(clip, name, **fields)


def name_and_fields(
    clip: PreTrainedModel, processor: MVProcessor, method: Method, settings: RunSettings
) -> tuple[str, dict[str, Any]]:
    """The arguments of `create_method` and of `method_config`.

    The fields of the run replace those of the method's file. A configuration that limits the number of frames or of
    text tokens gets the limits of the data.
    """
    lengths = {"max_frames": settings.num_frames, "max_text_tokens": processor.max_text_tokens}
    fields = {**method.overrides, **settings.overrides}
    head = fields.pop(HEAD, method.head)
    if method.match is not None:
        other = load_method(method.match, tiny=settings.has_tiny_clip)
        fields["match"] = _config(clip, other.method, other.overrides, lengths)
    fields = _with_lengths(clip, method.method, fields, lengths)
    if method.head is None:
        return method.method, fields if head is None else {**fields, HEAD: head}
    return f"{method.method}+{HEAD}", {**fields, HEAD: _with_lengths(clip, HEAD, head, lengths)}


def _config(
    clip: PreTrainedModel, name: str, fields: Mapping[str, Any], lengths: Mapping[str, int]
) -> PeftConfig | None:
    return method_config(clip, name, **_with_lengths(clip, name, fields, lengths))


def _with_lengths(
    clip: PreTrainedModel, name: str, fields: Mapping[str, Any], lengths: Mapping[str, int]
) -> dict[str, Any]:
    """The fields of a method, after those lengths that its configuration has a field for."""
    config = method_config(clip, name, **fields)
    known = set() if config is None else {field.name for field in dataclasses.fields(config)}
    return {**{length: value for length, value in lengths.items() if length in known}, **fields}
