"""The table of dual encoders: one row a family, and the only place that knows a family's module names.

A dual encoder is a vision tower and a text tower whose embeddings are compared by their cosine. The rest of the package
asks this table where a tower's layers are, what they consist of, and how the tower treats its tokens:

    encoder = DualEncoder.of(model)          # the row of a model; TypeError for anything that is not in the table
    for tower in towers(model).values():     # a tower of this very model
        tower.width, len(tower.layers), tower.locate("vision_model.encoder.layers.3.mlp.fc2")

To add a family, write its row and call `register_family`; CONTRIBUTING.md says which models can be adapted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import nn

TowerName = Literal["vision", "text"]
TOWERS: tuple[TowerName, ...] = ("vision", "text")


@dataclass(frozen=True, kw_only=True)
class LayerNames:
    """Names of the modules inside one encoder layer, relative to that layer.

    Attributes:
        attention: The self-attention, which runs before the MLP and gets the keyword arguments of the layer.
        query: The linear layer that makes the queries of the self-attention.
        key: Likewise the keys.
        value: Likewise the values.
        attention_out: The output projection of the self-attention.
        mlp_in: The first linear layer of the MLP.
        mlp_out: The second linear layer of the MLP, on whose output MV-Adapter sits.
        mlp: The module that computes the MLP's output. Where `pre_norm` is false it also takes the residual, as its
            second argument, and returns the normalised sum.
        norms: The LayerNorms.
        pre_norm: Whether the LayerNorms come before attention and MLP, as in ViT, or after them, as in BERT.
    """

    attention: str
    query: str
    key: str
    value: str
    attention_out: str
    mlp_in: str
    mlp_out: str
    mlp: str
    norms: tuple[str, ...]
    pre_norm: bool

    @property
    def linear(self) -> tuple[str, ...]:
        """All linear layers."""
        return (self.query, self.key, self.value, self.attention_out, self.mlp_in, self.mlp_out)


@dataclass(frozen=True, kw_only=True)
class Tower:
    """One tower of a family.

    Attributes:
        root: Name of the tower in a model that has both towers. In a model of this tower alone it may also be the
            model itself.
        layers: Name of the list of encoder layers, relative to the tower.
        layer: Names inside one of these layers.
        norms: LayerNorms outside the layers, relative to the tower.
        class_token: Whether the first token stands for the whole input ([CLS]). Only the vision tower's matters.
        causal: Whether a token sees only itself and the tokens before it.
        positions_after_padding: Whether positions are counted from behind the id of the padding token, as RoBERTa does.
    """

    root: str
    layers: str = "encoder.layers"
    layer: LayerNames
    norms: tuple[str, ...] = ()
    class_token: bool = False
    causal: bool = False
    positions_after_padding: bool = False


@dataclass(frozen=True, kw_only=True)
class DualEncoder:
    """A family of dual encoders, as Transformers implements it.

    Attributes:
        title: The family's name in messages.
        model_type: `config.model_type` of a model with both towers.
        model_classes: Class names in Transformers: the model with both towers, then those of the vision tower and of
            the text tower alone whose output is the joint embedding, where the family has them.
        vision: The vision tower.
        text: The text tower.
        projection: Name of the projection of pooled images into the joint space; None where the vision tower's pooled
            output is the joint embedding already.
        loss: "softmax", CLIP's symmetric cross-entropy; or "sigmoid", SigLIP's loss of independent pairs with a bias.
        padding: How captions are padded: to the "longest" of the batch, or always to the model's full length
            ("max_length"), with the padding seen by all tokens.
        lowercase: Whether captions were lower-cased for training, so that they have to be, whichever the tokenizer.
    """

    title: str
    model_type: str
    model_classes: tuple[str, ...]
    vision: Tower
    text: Tower
    projection: str | None = "visual_projection"
    loss: Literal["softmax", "sigmoid"] = "softmax"
    padding: Literal["longest", "max_length"] = "longest"
    lowercase: bool = False

    def tower(self, name: TowerName) -> Tower:
        """The row's tower of that name."""
        return self.vision if name == "vision" else self.text

    def max_text_tokens(self, text_config: Any) -> int:
        """The most tokens of a caption, by the configuration of the text tower."""
        positions: int = text_config.max_position_embeddings
        return positions - text_config.pad_token_id - 1 if self.text.positions_after_padding else positions

    @staticmethod
    def of(model: nn.Module) -> DualEncoder:
        """The family of a model.

        Raises:
            TypeError: If the model is none of the table's classes, nor derived from one.
        """
        for cls in type(model).__mro__:
            for family in FAMILIES.values():
                if cls.__name__ in family.model_classes:
                    return family
        model_type = getattr(getattr(model, "config", None), "model_type", None)
        raise TypeError(_refusal(type(model).__name__, model_type))

    @staticmethod
    def of_config(config: Any, name: str = "The model") -> DualEncoder:
        """The family of a configuration that describes both towers.

        Args:
            config: A configuration of Transformers.
            name: What to call the model in the message.

        Raises:
            TypeError: If it is of no family of the table.
        """
        family = FAMILIES.get(config.model_type)
        if family is None:
            raise TypeError(_refusal(name, config.model_type))
        return family


class Location(NamedTuple):
    """Where in a tower a module stands.

    Attributes:
        tower: The tower.
        layer: The number of the layer.
        inside: The module's name relative to the layer; "" for the layer itself.
    """

    tower: TowerName
    layer: int
    inside: str


@dataclass(frozen=True)
class ModelTower:
    """A tower of one model.

    Attributes:
        name: "vision" or "text".
        names: The tower's entry in the table.
        module: The tower itself.
        prefix: What the names of the tower's modules start with in the model: "vision_model.", or "" where the model is
            the tower.
    """

    name: TowerName
    names: Tower
    module: nn.Module = field(repr=False)
    prefix: str

    @property
    def layers(self) -> nn.ModuleList:
        """The encoder layers, with whatever PEFT has put around them."""
        return self.module.get_submodule(self.names.layers)

    @property
    def config(self) -> Any:
        """The tower's configuration."""
        return self.module.config

    @property
    def width(self) -> int:
        """Channels of the hidden states."""
        return self.config.hidden_size

    def locate(self, module_name: str) -> Location | None:
        """Where a module of this name in the model stands; None if it is in none of the tower's layers."""
        match = self._in_layer.fullmatch(module_name)
        return None if match is None else Location(self.name, int(match["layer"]), match["inside"] or "")

    @cached_property
    def _in_layer(self) -> re.Pattern[str]:
        path = re.escape(self.prefix + self.names.layers)
        return re.compile(rf"{path}\.(?P<layer>\d+)(?:\.(?P<inside>.+))?")

    def pattern(self, *inside: str) -> str:
        """A regular expression for the names that modules inside the layers have in the model."""
        path = re.escape(self.prefix + self.names.layers)
        names = "|".join(re.escape(name) for name in inside if name)
        return rf"{path}\.\d+" + (rf"\.(?:{names})" if names else "")


def towers(model: nn.Module) -> dict[TowerName, ModelTower]:
    """The towers that a model of the table has, by name.

    Raises:
        TypeError: If the model is not in the table, or its modules have other names than the table says.
    """
    family = DualEncoder.of(model)
    found: dict[TowerName, ModelTower] = {}
    for name in _tower_names(model, family):
        row = family.tower(name)
        is_inside = hasattr(model, row.root)
        root = getattr(model, row.root) if is_inside else model
        tower = ModelTower(name, row, root, f"{row.root}." if is_inside else "")
        missing = row.root if _has_both_towers(model, family) and not is_inside else _missing_name(tower)
        if missing is not None:
            raise TypeError(
                f"{type(model).__name__} has no '{missing}' in its {name} tower, where the table of encoders says that "
                f"{family.title} has it. Install another version of Transformers, or correct the row of your family."
            )
        found[name] = tower
    return found


def embedding_dim(model: nn.Module) -> int:
    """Width of the joint space of a model with a vision tower."""
    family = DualEncoder.of(model)
    if family.projection is None:
        return towers(model)["vision"].width
    projection: Any = getattr(model, family.projection)
    weight = getattr(projection, "weight", None)
    return model.config.projection_dim if weight is None else weight.shape[0]


def register_family(family: DualEncoder) -> None:
    """Add a family to the table, or replace the row of the same `model_type`."""
    FAMILIES[family.model_type] = family


def _tower_names(model: nn.Module, family: DualEncoder) -> Iterator[TowerName]:
    """The class of a model tells which towers it has."""
    if _has_both_towers(model, family):
        yield from TOWERS
        return
    names = {cls.__name__ for cls in type(model).__mro__}
    for name, model_class in zip(TOWERS, family.model_classes[1:], strict=False):
        if model_class in names:
            yield name


def _has_both_towers(model: nn.Module, family: DualEncoder) -> bool:
    return any(cls.__name__ == family.model_classes[0] for cls in type(model).__mro__)


def _missing_name(tower: ModelTower) -> str | None:
    """The first name in a row that the tower does not have."""
    row = tower.names
    try:
        layer = tower.layers[0]
    except AttributeError:
        return row.layers
    names = (row.layer.attention, row.layer.mlp, *row.layer.linear, *row.layer.norms)
    wanted = [(layer, name) for name in names] + [(tower.module, name) for name in row.norms]
    return next((name for module, name in wanted if not _has(module, name)), None)


def _has(module: nn.Module, path: str) -> bool:
    """Tell whether a module has a submodule, under whatever PEFT has put around the modules on the way."""
    for name in path.split("."):
        while name not in module._modules:
            inner = module._modules.get("base_layer") or module._modules.get("original_module")
            if inner is None:
                return False
            module = inner
        module = module._modules[name]
    return True


def _refusal(name: str, model_type: str | None) -> str:
    taken = ", ".join(model_class for family in FAMILIES.values() for model_class in family.model_classes)
    reason = REFUSED.get(model_type or "", f"{name} is not among the dual encoders that mv_peft adapts.")
    return f"{reason} Use one of these classes of Transformers: {taken}."


_VIT_LAYER = LayerNames(
    attention="self_attn",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    attention_out="self_attn.out_proj",
    mlp_in="mlp.fc1",
    mlp_out="mlp.fc2",
    mlp="mlp",
    norms=("layer_norm1", "layer_norm2"),
    pre_norm=True,
)
_BERT_LAYER = LayerNames(
    attention="attention",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_out="attention.output.dense",
    mlp_in="intermediate.dense",
    mlp_out="output.dense",
    mlp="output",
    norms=("attention.output.LayerNorm", "output.LayerNorm"),
    pre_norm=False,
)
_CLIP_VISION = Tower(root="vision_model", layer=_VIT_LAYER, norms=("pre_layrnorm", "post_layernorm"), class_token=True)
_CLIP_TEXT = Tower(root="text_model", layer=_VIT_LAYER, norms=("final_layer_norm",), causal=True)

FAMILIES: dict[str, DualEncoder] = {}
for _family in (
    DualEncoder(
        title="CLIP",
        model_type="clip",
        model_classes=("CLIPModel", "CLIPVisionModelWithProjection", "CLIPTextModelWithProjection"),
        vision=_CLIP_VISION,
        text=_CLIP_TEXT,
    ),
    DualEncoder(
        title="MetaCLIP 2",
        model_type="metaclip_2",
        model_classes=("MetaClip2Model", "MetaClip2VisionModelWithProjection", "MetaClip2TextModelWithProjection"),
        vision=_CLIP_VISION,
        text=_CLIP_TEXT,
    ),
    # Also the SigLIP 2 checkpoints of fixed resolution, whose model type this is. Their tokenizer is Gemma's, which
    # keeps upper case.
    DualEncoder(
        title="SigLIP",
        model_type="siglip",
        model_classes=("SiglipModel", "SiglipVisionModel", "SiglipTextModel"),
        vision=Tower(root="vision_model", layer=_VIT_LAYER, norms=("post_layernorm", "head.layernorm")),
        text=Tower(root="text_model", layer=_VIT_LAYER, norms=("final_layer_norm",)),
        projection=None,
        loss="sigmoid",
        padding="max_length",
        lowercase=True,
    ),
    DualEncoder(
        title="Chinese-CLIP",
        model_type="chinese_clip",
        model_classes=("ChineseCLIPModel",),
        vision=_CLIP_VISION,
        text=Tower(root="text_model", layers="encoder.layer", layer=_BERT_LAYER, norms=("embeddings.LayerNorm",)),
    ),
    DualEncoder(
        title="AltCLIP",
        model_type="altclip",
        model_classes=("AltCLIPModel",),
        vision=_CLIP_VISION,
        text=Tower(
            root="text_model",
            layers="roberta.encoder.layers",
            layer=_BERT_LAYER,
            norms=("roberta.embeddings.LayerNorm", "pre_LN"),
            positions_after_padding=True,
        ),
    ),
):
    register_family(_family)

# Dual encoders of Transformers that look as if they could be adapted, and why they are not.
REFUSED = {
    "xclip": "X-CLIP lets the frames of a video see each other by layers of its own.",
    "siglip2": "SigLIP 2 with variable resolution (NaFlex) takes patches of images, not images, so it takes no videos.",
}
