"""An invented family of dual encoders: a tiny CLIP whose modules have other names, known to mv_peft by one row."""

from __future__ import annotations

import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel

from mv_peft.encoders.families import DualEncoder, LayerNames, Tower
from tests.models import clip_config


class InventedConfig(CLIPConfig):
    model_type = "invented"


class InventedModel(CLIPModel):
    """Computes what CLIP does, in modules that are called `eye`, `tongue`, `blocks`, `look`, `grow`, `shrink`, ..."""

    config_class = InventedConfig

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        for old, new in (("vision_model", "eye"), ("text_model", "tongue"), ("visual_projection", "joint")):
            self._modules[new] = self._modules.pop(old)
        for tower in (self.eye, self.tongue):
            tower.encoder.__class__ = _named(type(tower.encoder), layers="blocks")
            _rename(tower.encoder, layers="blocks")
            for layer in tower.encoder.blocks:
                layer.__class__ = _named(type(layer), self_attn="look", mlp="think")
                _rename(layer, self_attn="look", mlp="think")
                layer.think.__class__ = _named(type(layer.think), fc1="grow", fc2="shrink")
                _rename(layer.think, fc1="grow", fc2="shrink")

    vision_model = property(lambda self: self.eye)
    text_model = property(lambda self: self.tongue)
    visual_projection = property(lambda self: self.joint)


def _named(cls: type, **names: str) -> type:
    """A class that finds its sub-modules under their old names as well."""
    body = {old: property(lambda self, new=new: getattr(self, new)) for old, new in names.items()}
    return type(cls.__name__, (cls,), body)


def _rename(module: nn.Module, **names: str) -> None:
    for old, new in names.items():
        module._modules[new] = module._modules.pop(old)


_LAYER = LayerNames(
    attention="look",
    query="look.q_proj",
    key="look.k_proj",
    value="look.v_proj",
    attention_out="look.out_proj",
    mlp_in="think.grow",
    mlp_out="think.shrink",
    mlp="think",
    norms=("layer_norm1", "layer_norm2"),
    pre_norm=True,
)
ROW = DualEncoder(
    title="Invented",
    model_type="invented",
    model_classes=("InventedModel",),
    vision=Tower(
        root="eye",
        layers="encoder.blocks",
        layer=_LAYER,
        norms=("pre_layrnorm", "post_layernorm"),
        class_token=True,
    ),
    text=Tower(root="tongue", layers="encoder.blocks", layer=_LAYER, norms=("final_layer_norm",), causal=True),
    projection="joint",
)


def invented_model(seed: int = 0) -> InventedModel:
    torch.manual_seed(seed)
    fields = {name: value for name, value in clip_config().to_dict().items() if name != "model_type"}
    return InventedModel(InventedConfig(**fields)).eval()
