"""MVAdapterConfig: defaults, presets, and an error that names every wrong value."""

from __future__ import annotations

import pytest
from peft import PeftConfig

from mv_peft import MVAdapterConfig
from mv_peft.tuners.mv_adapter.presets import PRESETS
from tests.models import adapter_config


def test_defaults_are_the_papers_but_for_where_tying_starts():
    config = MVAdapterConfig()
    assert (config.bottleneck_dim, config.num_heads, config.scaling) == (64, 2, 0.1)
    assert (config.max_frames, config.max_text_tokens) == (12, 32)
    assert (config.tying_layers, config.tying_position, config.factor_dim) == (2, "down_in", 32)
    assert (config.calibration, config.calibration_dim, config.temporal_adaptation) == (True, 16, True)
    assert (config.tying_init, config.position_init_std, config.pre_norm) == ("identity", 0.01, False)


def test_presets():
    assert MVAdapterConfig.from_preset("msrvtt").to_dict() == MVAdapterConfig(tying_init="paper").to_dict()
    assert {MVAdapterConfig.from_preset(name).tying_init for name in PRESETS} == {"paper"}
    assert MVAdapterConfig.from_preset("lsmdc").tying_layers == 3
    didemo = MVAdapterConfig.from_preset("didemo", bottleneck_dim=128)
    assert (didemo.tying_position, didemo.max_frames, didemo.max_text_tokens) == ("down_out", 32, 64)
    assert didemo.bottleneck_dim == 128
    activitynet = MVAdapterConfig.from_preset("activitynet")
    assert (activitynet.pre_norm, activitynet.tying_layers) == (True, 1)
    with pytest.raises(ValueError, match=r"preset 'msrvt'\. Choose from: activitynet, didemo, lsmdc, msrvtt, msvd"):
        MVAdapterConfig.from_preset("msrvt")
    with pytest.raises(TypeError, match="bottleneck"):
        MVAdapterConfig.from_preset("msrvtt", bottleneck=3)


@pytest.mark.parametrize(
    ("field", "value", "error", "message"),
    [
        ("bottleneck_dim", -8, ValueError, "`bottleneck_dim` must be positive, got -8"),
        ("bottleneck_dim", 6.5, TypeError, "`bottleneck_dim` must be an integer, got 6.5"),
        ("bottleneck_dim", {"vision": 8}, ValueError, r"`bottleneck_dim` must have the keys 'vision' and 'text'"),
        ("num_heads", 3, ValueError, "`num_heads` = 3 must divide `bottleneck_dim` = 64 in the vision tower"),
        ("num_heads", {"vision": 2, "text": 5}, ValueError, "= 5 must divide .* in the text tower"),
        ("num_heads", True, TypeError, "`num_heads` must be an integer, got True"),
        ("scaling", float("nan"), ValueError, "`scaling` must be a finite number, got nan"),
        ("scaling", "0.1", ValueError, "`scaling` must be a finite number, got '0.1'"),
        ("max_frames", 0, ValueError, "`max_frames` must be positive, got 0"),
        ("max_text_tokens", None, TypeError, "`max_text_tokens` must be an integer, got None"),
        ("calibration_dim", 0, ValueError, "`calibration_dim` must be positive"),
        ("factor_dim", -1, ValueError, "`factor_dim` must be positive, got -1"),
        ("temporal_adaptation", 1, TypeError, "`temporal_adaptation` must be True or False, got 1"),
        ("pre_norm", "no", TypeError, "`pre_norm` must be True or False, got 'no'"),
        ("tying_layers", -1, ValueError, "`tying_layers` must be .* got -1"),
        ("tying_layers", [3], ValueError, r"`tying_layers` must hold \[vision_layer, text_layer\] pairs, got \[3\]"),
        ("tying_layers", [[1, 2, 3]], ValueError, r"pairs, got \[\[1, 2, 3\]\]"),
        ("tying_layers", [[1, 2], [1, 3]], ValueError, "name each layer of a tower once"),
        ("tying_layers", "last", TypeError, "`tying_layers` must be a number of layers or a list of pairs, got 'last'"),
        ("tying_position", "down", ValueError, "'down'. Choose from: down_in, down_out, up_in, up_out"),
        ("tying_init", "zero", ValueError, "Unknown `tying_init` 'zero'. Choose from: paper, identity"),
        ("position_init_std", -0.1, ValueError, "`position_init_std` must be a number of at least 0, got -0.1"),
        ("layers_to_transform", -1, ValueError, "`layers_to_transform` must name layers from 0 up, got -1"),
        ("layers_to_transform", ["3"], ValueError, r"`layers_to_transform` must name layers from 0 up, got \['3'\]"),
        ("layers_to_transform", {"video": 1}, ValueError, "`layers_to_transform` must have the keys"),
        ("target_modules", [3], TypeError, r"`target_modules` must hold names, got \[3\]"),
        ("target_modules", 3, TypeError, "`target_modules` must hold names, got 3"),
        ("modules_to_save", "visual_projection", TypeError, "`modules_to_save` must hold names"),
    ],
)  # fmt: skip
def test_every_wrong_value_is_named(field, value, error, message):
    with pytest.raises(error, match=message):
        MVAdapterConfig(**{field: value})


def test_unknown_fields_are_refused():
    with pytest.raises(TypeError, match="bottleneck_dims"):
        MVAdapterConfig(bottleneck_dims=3)


def test_without_frames_seeing_each_other_there_is_no_calibration():
    assert MVAdapterConfig(temporal_adaptation=False).calibration is False


@pytest.mark.parametrize(
    ("layers", "pairs"), [(0, []), ([], []), (1, [[11, 3]]), (2, [[10, 2], [11, 3]]), ([(0, 3)], [[0, 3]])]
)
def test_tied_pairs_from_the_top(layers, pairs):
    assert MVAdapterConfig(tying_layers=layers).tied_pairs(range(12), range(4)) == pairs


@pytest.mark.parametrize(
    ("layers", "pairs"),
    [(1, [[9, 3]]), (2, [[3, 1], [9, 3]]), (3, [[0, 0], [3, 1], [9, 3]]), (12, [[0, 0], [3, 1], [9, 3]])],
)
def test_an_integer_ties_from_the_top_of_the_adapted_layers_as_many_as_there_are(layers, pairs):
    assert MVAdapterConfig(tying_layers=layers).tied_pairs([0, 3, 9], [0, 1, 3]) == pairs
    assert MVAdapterConfig(tying_layers=layers).tied_pairs([0, 3, 9], []) == []


def test_round_trip_through_a_file(tmp_path):
    layers = {"vision": {2, 0}, "text": None}
    config = adapter_config(layers_to_transform=layers, tying_layers=[[2, 1]], target_modules={"b", "a"})
    config.save_pretrained(tmp_path)
    loaded = PeftConfig.from_pretrained(tmp_path)
    assert type(loaded) is MVAdapterConfig
    assert loaded.to_dict() == config.to_dict()
    assert loaded.target_modules == ["a", "b"]
