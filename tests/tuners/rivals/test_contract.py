"""One contract for every method of the comparison, ours and PEFT's: files, padding, order, several adapters."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer

from mv_peft import disable_video, enable_video
from mv_peft.tuners.base.layer import TunerLayer
from tests.models import batch, tiny_clip
from tests.tuners.rivals.methods import ALL, MERGES, OURS, SEES_FROM_THE_START, TEMPORAL, create, shake, trained

pytestmark = [
    pytest.mark.filterwarnings("ignore:Adapter default was active:UserWarning"),
    # Of VeRA: its projections are made anew from a seed.
    pytest.mark.filterwarnings("ignore:Specified to not save vera_A:UserWarning"),
]


def outputs(model, **inputs):
    with torch.no_grad():
        return model(**(inputs or batch()))


def logits(model, **inputs):
    return outputs(model, **inputs).logits_per_text


def plain(**inputs):
    return logits(enable_video(tiny_clip()), **inputs)


def assert_equal(left, right):
    assert left.keys() == right.keys()
    assert left
    assert all(torch.equal(left[key], right[key]) for key in left)


def gradients(model, **inputs):
    model.zero_grad()
    torch.manual_seed(0)
    model(**(inputs or batch()), return_loss=True).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("method", ALL)
class TestContract:
    def test_untrained_it_is_clip(self, method):
        if method in SEES_FROM_THE_START:
            assert (logits(create(method)) - plain()).abs().max() > 1e-3
        elif method in OURS and "dora" not in method:
            assert torch.equal(logits(create(method)), plain())
        else:
            torch.testing.assert_close(logits(create(method)), plain())
        assert (logits(trained(method)) - plain()).abs().max() > 1e-2

    def test_disabled_it_is_clip_to_the_bit(self, method):
        model = trained(method)
        with model.disable_adapter():
            assert torch.equal(logits(model), plain())
        assert (logits(model) - plain()).abs().max() > 1e-2

    def test_trains_what_it_added_and_nothing_else(self, method):
        clip = tiny_clip()
        of_clip = list(clip.parameters())
        before = copy.deepcopy(of_clip)
        model = shake(create(method, clip))
        trainable = [p for p in model.parameters() if p.requires_grad]
        assert trainable
        assert not {id(p) for p in trainable} & {id(p) for p in of_clip}
        got = gradients(model)
        assert all(torch.isfinite(gradient).all() for gradient in got.values())
        assert sum(bool(gradient.abs().sum() > 0) for gradient in got.values()) > 0.9 * len(got)
        with torch.no_grad():
            for parameter in trainable:
                parameter.sub_(0.1 * parameter.grad)
        assert all(torch.equal(p, q) for p, q in zip(of_clip, before, strict=True))

    @pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
    def test_saved_and_loaded(self, method, low_cpu_mem_usage, tmp_path):
        model = trained(method)
        model.save_pretrained(tmp_path)
        loaded = PeftModel.from_pretrained(
            tiny_clip(), tmp_path, adapter_name="renamed", low_cpu_mem_usage=low_cpu_mem_usage
        )
        if method not in OURS:
            enable_video(loaded)
        state = get_peft_model_state_dict(model)
        assert_equal(get_peft_model_state_dict(loaded, adapter_name="renamed"), state)
        assert not any("default" in key.split(".") for key in state)
        assert type(PeftConfig.from_pretrained(tmp_path)) is type(model.peft_config["default"])
        assert not any(p.requires_grad for p in loaded.parameters())
        # Memory that safetensors maps may be aligned otherwise, where kernels round otherwise.
        torch.testing.assert_close(logits(loaded.eval()), logits(model), rtol=0, atol=1e-4)

    def test_loading_reports_nothing_missing_or_left_over(self, method, tmp_path):
        trained(method).save_pretrained(tmp_path)
        model = create(method)
        result = model.load_adapter(tmp_path, "second")
        assert not [key for key in result.missing_keys if "second" in key]
        assert not result.unexpected_keys

    def test_two_adapters(self, method):
        if method == "adalora":
            pytest.skip("PEFT's AdaLoRA holds one trainable adapter.")
        model = trained(method)
        first = logits(model)
        config = ALL[method]()
        model.add_adapter("other", config)
        assert torch.equal(logits(model), first)
        model.set_adapter("other")
        shake(model.eval(), seed=1)
        second = logits(model)
        assert (first - second).abs().max() > 1e-3
        names = {name for name, p in model.named_parameters() if p.requires_grad}
        assert names
        assert not any("default" in name.split(".") for name in names)
        model.set_adapter("default")
        assert torch.equal(logits(model), first)
        model.delete_adapter("default")
        if method not in OURS:
            model.set_adapter("other")
        assert torch.equal(logits(model), second)
        assert not any("default" in name.split(".") for name, _ in model.named_parameters())

    def test_unloading_gives_the_original_back(self, method):
        clip = tiny_clip()
        modules, state = dict(clip.named_modules()), copy.deepcopy(clip.state_dict())
        model = shake(create(method, clip))
        if method == "lora+head":
            assert "text_projection.modules_to_save.default.weight" in clip.state_dict()
        unloaded = model.unload()
        assert unloaded is clip
        hooks = sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in clip.modules())
        assert (hooks == 0) == (method in OURS)  # PEFT's got theirs by `enable_video`
        disable_video(unloaded)
        assert dict(unloaded.named_modules()) == modules
        assert_equal(unloaded.state_dict(), state)
        get_peft_model(unloaded, ALL[method](), adapter_name="again")

    def test_merging_is_refused_with_a_reason_or_changes_nothing(self, method):
        model = trained(method)
        expected = logits(model)
        if method not in MERGES:
            for call in (model.merge_adapter, model.merge_and_unload):
                with pytest.raises(ValueError, match="not linear and cannot be merged into the model"):
                    call()
            assert torch.equal(logits(model), expected)
            return
        model.merge_adapter()
        torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-3)
        model.unmerge_adapter()
        torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-3)
        with model.disable_adapter():
            torch.testing.assert_close(logits(model), plain(), rtol=0, atol=1e-3)
        merged = model.merge_and_unload()
        assert not any(isinstance(module, BaseTunerLayer) for module in merged.modules())
        torch.testing.assert_close(logits(enable_video(merged).eval()), expected, rtol=0, atol=1e-3)

    @pytest.mark.parametrize("garbage", [float("nan"), 1e6])
    def test_what_stands_in_padded_frames_is_invisible(self, method, garbage):
        model, inputs = trained(method), batch()
        expected, expected_gradients = logits(model, **inputs), gradients(model, **inputs)
        padded = ~inputs["frame_mask"].bool()
        assert padded.any()
        inputs["pixel_values"] = inputs["pixel_values"].masked_fill(padded[:, :, None, None, None], garbage)
        assert torch.equal(logits(model, **inputs), expected)
        assert_equal(gradients(model, **inputs), expected_gradients)

    def test_neighbours_and_length_of_padding_are_invisible(self, method):
        model, inputs = trained(method), batch(frames=4)
        expected = outputs(model, **inputs).image_embeds
        longer = {
            **inputs,
            "pixel_values": torch.cat([inputs["pixel_values"], torch.randn(3, 2, 3, 8, 8)], dim=1),
            "frame_mask": torch.cat([inputs["frame_mask"], torch.zeros(3, 2, dtype=torch.long)], dim=1),
        }
        torch.testing.assert_close(outputs(model, **longer).image_embeds, expected, rtol=0, atol=1e-5)
        for row, frames in enumerate(inputs["frame_mask"].sum(1).tolist()):
            alone = {key: inputs[key][row : row + 1] for key in ("input_ids", "attention_mask")}
            alone["pixel_values"] = inputs["pixel_values"][row : row + 1, :frames]
            torch.testing.assert_close(outputs(model, **alone).image_embeds[0], expected[row], rtol=0, atol=1e-5)

    def test_length_of_caption_padding_is_invisible(self, method):
        model, inputs = trained(method), batch()
        expected = outputs(model, **inputs).text_embeds
        ids = torch.cat([inputs["input_ids"], torch.zeros(3, 3, dtype=torch.long)], dim=1)
        mask = torch.cat([inputs["attention_mask"], torch.zeros(3, 3, dtype=torch.long)], dim=1)
        for attention_mask in (mask, None):
            got = outputs(model, **{**inputs, "input_ids": ids, "attention_mask": attention_mask}).text_embeds
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)

    def test_only_temporal_methods_see_the_order_of_frames(self, method):
        model, inputs = trained(method), batch(videos=2, frames=4)
        inputs["frame_mask"] = torch.ones(2, 4)
        forward = outputs(model, **inputs).image_embeds
        backward = outputs(model, **{**inputs, "pixel_values": inputs["pixel_values"].flip(1)}).image_embeds
        if method in TEMPORAL:
            assert (forward - backward).abs().max() > 1e-3
        else:
            torch.testing.assert_close(forward, backward, rtol=0, atol=1e-5)

    def test_pooling_is_that_of_all_methods(self, method):
        """One video is the mean of its frames' unit vectors, and an image is a video of one frame."""
        model, inputs = trained(method), batch(videos=2, frames=3)
        frames = inputs["pixel_values"][:1]
        with torch.no_grad():
            images = model.get_image_features(frames[0]).pooler_output
            one_by_one = model.get_image_features(frames.transpose(0, 1)).pooler_output
            video = model.get_image_features(frames).pooler_output
        images = images / images.norm(dim=-1, keepdim=True)
        torch.testing.assert_close(one_by_one, images)
        if method not in TEMPORAL:
            torch.testing.assert_close(video[0], images.mean(0))
        assert video.norm() < 1

    @pytest.mark.parametrize("use_reentrant", [False, True])
    def test_gradient_checkpointing(self, method, use_reentrant):
        model = trained(method).train()
        expected = gradients(model)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": use_reentrant})
        got = gradients(model)
        assert got.keys() == expected.keys()
        assert sum(gradient.abs().sum() for gradient in expected.values()) > 0
        for name, gradient in expected.items():
            torch.testing.assert_close(got[name], gradient, msg=f"gradient of {name} differs")

    @pytest.mark.parametrize("attention", ["eager", "sdpa"])
    def test_any_attention(self, method, attention):
        model = trained(method)
        model.get_base_model().set_attn_implementation(attention)
        torch.testing.assert_close(logits(model), logits(trained(method)), rtol=0, atol=1e-4)

    def test_half_precision(self, method):
        model = create(method, tiny_clip().bfloat16())
        inputs = batch()
        inputs["pixel_values"] = inputs["pixel_values"].bfloat16()
        out = model(**inputs, return_loss=True)
        assert out.image_embeds.dtype == torch.bfloat16
        out.loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
        if method in OURS and "modules_to_save" not in str(model):  # which PEFT leaves as they are
            assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}

    def test_copies_are_whole_and_apart(self, method):
        model = trained(method)
        expected = logits(model)
        copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert all(torch.equal(logits(each), expected) for each in copies)


@pytest.mark.parametrize("method", [name for name in OURS if name != "mv_adapter"])
class TestOurs:
    """Further promises of our tuners; MV-Adapter's stand in tests/tuners/mv_adapter."""

    def test_adapter_names_are_understood_or_refused(self, method):
        model, names = trained(method), ["default"] * 3
        if all(layer.routes_rows for layer in model.modules() if isinstance(layer, TunerLayer)):
            assert torch.equal(model(**batch(), adapter_names=names).logits_per_text, logits(model))
            return
        with pytest.raises(ValueError, match="`adapter_names` is not understood by .*, which the model holds"):
            model(**batch(), adapter_names=names)
        logits(model)

    @pytest.mark.parametrize("name", ["mlp", "weight", "base_layer", "vision_model", "0", "a.b", "keys"])
    def test_names_that_would_lose_weights_are_refused(self, method, name):
        with pytest.raises(ValueError, match=f"name.*'{name}'"):
            get_peft_model(tiny_clip(), ALL[method](), adapter_name=name)

    def test_video_input_cannot_be_taken_away(self, method):
        with pytest.raises(ValueError, match="holds an adapter that needs video input"):
            disable_video(create(method))

    def test_unloading_leaves_the_video_input_that_the_user_enabled(self, method):
        clip = enable_video(tiny_clip())
        assert torch.equal(logits(get_peft_model(clip, ALL[method]()).unload()), plain())

    def test_compile_without_a_graph_break(self, method):
        if "dora" in method:
            pytest.skip("PEFT's DoRA breaks the graph by itself.")
        model, inputs = trained(method), batch()
        torch._dynamo.reset()
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(logits(compiled, **inputs), logits(model, **inputs), rtol=0, atol=1e-4)

    def test_saved_config_is_plain_json(self, method, tmp_path):
        model = create(method)
        model.save_pretrained(tmp_path)
        config = PeftConfig.from_pretrained(tmp_path)
        of_saving = {"inference_mode": True, "auto_mapping": config.auto_mapping}
        assert config.to_dict() == {**model.peft_config["default"].to_dict(), **of_saving}
