"""PEFT's own common tests, `PeftCommonTester`, run against MV-Adapter on a tiny CLIP.

The class is in PEFT's source distribution only and is found there at run time; `tests/fetch_peft_tests.py` fetches it.
Each of its `_test_*` methods stands in one of three lists below: it runs; it is refused, because MV-Adapter cannot be
merged; or it does not apply, for the reason given.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PromptLearningConfig
from torch import Tensor, nn
from transformers import CLIPModel
from transformers.models.clip.modeling_clip import CLIPTextModel

from mv_peft import MVAdapterConfig, MVAdapterModel, enable_video
from mv_peft.tuners.mv_adapter.layer import MVAdapterLayer
from tests.fetch_peft_tests import DEFAULT_FOLDER, peft_tests
from tests.models import batch, clip_config

FOLDER = peft_tests(Path(os.environ.get("MV_PEFT_PEFT_SDIST", DEFAULT_FOLDER)))
if not (FOLDER / "testing_common.py").is_file():
    pytest.skip(
        f"PEFT's own tests are not in '{FOLDER}'. Run `python tests/fetch_peft_tests.py`, or name the folder where the "
        "source distribution of the installed peft is unpacked in MV_PEFT_PEFT_SDIST.",
        allow_module_level=True,
    )

pytestmark = [  # of calls that PEFT and its tests make
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers.modeling_utils"),
    pytest.mark.filterwarnings("ignore:Adapter delete_me was active:UserWarning"),
]

# Small, and with an effect from the start, which the common tests expect of `init_weights=False`.
SMALL = {"bottleneck_dim": {"vision": 8, "text": 4}, "max_frames": 6, "scaling": 1.0, "init_weights": False}
SETTINGS: dict[str, dict[str, Any]] = {
    "paper": {},
    "tied-up": {"tying_position": "up_out", "tying_layers": [[0, 0], [2, 1]], "pre_norm": True, "calibration": False},
    "untied": {"tying_layers": 0, "temporal_adaptation": False},
    "modules-to-save": {"modules_to_save": ["visual_projection"]},
}

HALF = [{"dtype": torch.float16}, {"dtype": torch.bfloat16}]
FILES = [{"safe_serialization": True}, {"safe_serialization": False}]
RUNS: dict[str, list[dict[str, Any]]] = {  # method -> the further arguments of each run
    "_test_adapter_name": [{}],
    "_test_add_adapter_no_autocast_adapter_dtype": HALF,
    "_test_delete_adapter": [{}],
    "_test_delete_inactive_adapter": [{}],
    "_test_delete_unknown_adapter_raises": [{}],
    "_test_disable_adapter": [{}],
    "_test_from_pretrained_config_construction": [{}],
    "_test_generate_half_prec": [{}],  # not for what is generated: a forward pass of CLIP in bfloat16
    "_test_get_base_model_state_dict": [{}],
    "_test_inference_safetensors": [{}],
    "_test_load_model_low_cpu_mem_usage": [{}],
    "_test_load_multiple_adapters": [{}],
    "_test_lora_conversion": [{}],  # ends where `supports_lora_conversion()` has to say no
    "_test_mixed_adapter_batches": [{}],
    "_test_model_attr": [{}],
    "_test_peft_model_device_map": [{}],
    "_test_prepare_for_training": [{}],
    "_test_save_pretrained": FILES,
    "_test_save_pretrained_adapter_name_substring": [{}],
    "_test_save_pretrained_selected_adapters": FILES,
    "_test_training": [{}],
    "_test_training_gradient_checkpointing": [{"use_reentrant": True}, {"use_reentrant": False}],
    "_test_training_layer_indexing": [{}],
    "_test_unload_adapter": [{}],
}
CALLS = [
    pytest.param(method, arguments, id="-".join([method, *(f"{name}={value}" for name, value in arguments.items())]))
    for method, runs in RUNS.items()
    for arguments in runs
]
REFUSED = [
    "_test_merge_layers",
    "_test_merge_layers_fp16",
    "_test_merge_layers_is_idempotent",
    "_test_merge_layers_multi",
    "_test_merge_layers_nan",
    "_test_safe_merge",
]
NOT_APPLICABLE = {
    "_test_adding_multiple_adapters_with_bias_raises": "MVAdapterConfig has no `bias`.",
    "_test_generate": "CLIP generates nothing.",
    "_test_generate_pos_args": "CLIP generates nothing.",
    "_test_generate_with_mixed_adapter_batches_and_beam_search": "CLIP generates nothing.",
    "_test_passing_input_embeds_works": "CLIP takes no `inputs_embeds`.",
    "_test_training_prompt_learning_tasks": "MV-Adapter is no prompt learning.",
    "_test_weighted_combination_of_adapters": "LoRA and IA3 only: MV-Adapter has no `add_weighted_adapter`.",
    "_test_weighted_combination_of_adapters_ia3": "A part of the test of IA3 above.",
    "_test_weighted_combination_of_adapters_lora": "A part of the test of LoRA above.",
}
# These two take every parameter outside the adapters for frozen.
NOT_WITH_MODULES_TO_SAVE = ["_test_training_gradient_checkpointing", "_test_training_layer_indexing"]


@contextmanager
def stand_ins(*names: str) -> Iterator[None]:
    """Modules of empty classes in place of packages that are not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    for name in missing:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__getattr__ = lambda attribute: type(attribute, (), {})  # type: ignore[method-assign]
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


def load_testing_common() -> ModuleType:
    """PEFT's module, in a package under a name of its own: PEFT's folder is called `tests`, as ours is."""
    package = ModuleType("peft_own_tests")
    package.__path__ = [str(FOLDER)]
    pytest.register_assert_rewrite(package.__name__)
    sys.modules[package.__name__] = package
    # diffusers: is the model a pipeline? datasets: two helpers that the common tests do not call.
    with stand_ins("diffusers", "datasets"):
        return importlib.import_module(f"{package.__name__}.testing_common")


common = load_testing_common()


class RowsCLIP(CLIPModel):
    """CLIP with the output that the common tests expect: one tensor whose row i depends on sample i alone."""

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> RowsCLIP:
        """Takes videos from the start, so that the tests can compare with CLIP before and after."""
        return enable_video(super().from_pretrained(*args, **kwargs))

    def forward(self, input_ids: Tensor, pixel_values: Tensor | None = None, **kwargs: Any) -> tuple[Tensor]:
        """Both embeddings of each pair side by side, (batch, 2 * dim); without videos, those of the captions."""
        if pixel_values is None:
            return (self.get_text_features(input_ids, **kwargs).pooler_output,)
        output = super().forward(input_ids, pixel_values, **kwargs)
        return (torch.cat([output.image_embeds, output.text_embeds], dim=-1),)

    def generate(
        self, *, return_dict_in_generate: bool = False, output_scores: bool = False, **inputs: Any
    ) -> SimpleNamespace:
        """One forward pass, for the tests that compare models by the scores of what they generate."""
        return SimpleNamespace(scores=self(**inputs))

    def get_input_embeddings(self) -> nn.Module:
        """Those of the captions."""
        return self.text_model.get_input_embeddings()


class CommonTester(common.PeftCommonTester):
    """The common tests on the CPU, on videos of uneven length with captions."""

    torch_device = "cpu"
    transformers_class = RowsCLIP

    def prepare_inputs_for_testing(self) -> dict[str, Tensor]:
        """5-D pixel values with a frame mask, token ids with an attention mask."""
        return batch()


@pytest.fixture(scope="module")
def model_id(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the tiny CLIP."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    RowsCLIP(clip_config()).save_pretrained(folder)
    return str(folder)


def run(method: str, model_id: str, setting: str, **arguments: Any) -> None:
    """Runs a common test, which must not skip itself."""
    config_kwargs = {**SMALL, **SETTINGS[setting]}
    if method == "_test_training_layer_indexing":
        config_kwargs["tying_layers"] = [[0, 0]]  # it adapts layer 0 alone, and tied layers must be adapted
    torch.manual_seed(0)
    try:
        getattr(CommonTester(), method)(
            model_id=model_id, config_cls=MVAdapterConfig, config_kwargs=config_kwargs, **arguments
        )
    except pytest.skip.Exception as skip:
        pytest.fail(f"PEFT's {method} skipped itself: {skip}")


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("method", "arguments"), CALLS)
def test_common(method, arguments, setting, model_id, monkeypatch):
    if setting == "modules-to-save" and method in NOT_WITH_MODULES_TO_SAVE:
        pytest.skip("PEFT's test takes every parameter outside the adapters for frozen, `modules_to_save` too.")
    # Mixed batches are tested for two methods only, by their names: MV-Adapter takes the place of one.
    monkeypatch.setattr(common, "RoadConfig", MVAdapterConfig)
    run(method, model_id, setting, **arguments)


@pytest.mark.parametrize("method", REFUSED)
def test_merging_is_refused(method, model_id):
    with pytest.raises(ValueError, match=MVAdapterLayer.merge_refusal.split(".")[0]):
        run(method, model_id, "paper")


def test_no_common_test_is_left_out():
    methods = sorted(name for name in dir(common.PeftCommonTester) if name.startswith("_test_"))
    assert len(methods) > 30
    assert sorted([*RUNS, *REFUSED, *NOT_APPLICABLE]) == methods


def test_reasons_hold():
    assert "bias" not in {field.name for field in dataclasses.fields(MVAdapterConfig)}
    assert not CLIPModel.can_generate()
    assert "inputs_embeds" not in inspect.signature(CLIPModel.forward).parameters
    assert "inputs_embeds" not in inspect.signature(CLIPTextModel.forward).parameters
    assert not issubclass(MVAdapterConfig, PromptLearningConfig)
    assert not hasattr(MVAdapterModel, "add_weighted_adapter")
