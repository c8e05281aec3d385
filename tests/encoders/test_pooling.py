"""The slot for the pooling of frames: any module in it is used, trained and saved by PEFT's own means."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import CLIPTextModelWithProjection

from mv_peft import disable_video, enable_video
from mv_peft.encoders.pooling import MeanOfFrames
from tests import families
from tests.models import batch, clip_config, tiny_clip

DIM = 12


class WeightedMean(MeanOfFrames):
    """Frames moved by a learned matrix before they are pooled."""

    def __init__(self, dim: int = DIM) -> None:
        super().__init__()
        self.move = nn.Linear(dim, dim, bias=False)

    def refine(self, frames, frame_mask):
        return frames + self.move(frames)


def embeds(model, inputs=None):
    with torch.no_grad():
        return model(**(inputs or batch())).image_embeds


def with_pooling(seed=0):
    torch.manual_seed(seed)
    pooling = WeightedMean()
    return enable_video(tiny_clip(), pooling=pooling)


def test_the_module_in_the_slot_pools():
    model = with_pooling()
    assert (embeds(model) - embeds(enable_video(tiny_clip()))).abs().max() > 1e-2
    model.video_pooling.move.weight.data.zero_()
    assert torch.equal(embeds(model), embeds(enable_video(tiny_clip())))
    assert not hasattr(disable_video(model), "video_pooling")


def test_padding_is_invisible_to_it():
    model, inputs = with_pooling(), batch()
    noisy = inputs["pixel_values"].masked_fill(inputs["frame_mask"][..., None, None, None] == 0, torch.nan)
    assert torch.equal(embeds(model, {**inputs, "pixel_values": noisy}), embeds(model))
    alone = {name: tensor[1:2] for name, tensor in inputs.items()}
    frames = int(alone["frame_mask"].sum())
    alone |= {name: alone[name][:, :frames] for name in ("pixel_values", "frame_mask")}
    torch.testing.assert_close(embeds(model, alone), embeds(model)[1:2])


def test_lora_trains_and_saves_it_by_modules_to_save(tmp_path):
    """Loading wants a model that has the same module in its slot: the adapter's file has its weights, not its form."""
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["video_pooling"])
    model = get_peft_model(with_pooling(), config)
    model(**batch(), return_loss=True).loss.backward()
    trained = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    assert any("video_pooling.modules_to_save.default.move.weight" in name for name in trained)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    model.eval().save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(with_pooling(seed=7), tmp_path).eval()
    assert torch.equal(embeds(loaded), embeds(model))
    with model.disable_adapter():
        assert torch.equal(embeds(model), embeds(with_pooling()))


def test_families_without_a_projection_pool_at_once():
    model, inputs = families.tiny_model("siglip"), families.batch("siglip")
    plain = embeds(enable_video(model), inputs)
    torch.manual_seed(0)
    moved = enable_video(families.tiny_model("siglip"), pooling=WeightedMean(24))
    assert (embeds(moved, inputs) - plain).abs().max() > 1e-2


def test_a_pooling_without_effect_is_refused():
    with pytest.raises(ValueError, match="takes videos already"):
        enable_video(enable_video(tiny_clip()), pooling=WeightedMean())
    text = CLIPTextModelWithProjection(clip_config().text_config)
    with pytest.raises(ValueError, match="has no vision tower"):
        enable_video(text, pooling=WeightedMean())


def test_other_projections_stay_what_they_are():
    """Patches projected one by one, as in dense retrieval, are no frames of a video."""
    model = enable_video(tiny_clip())
    with torch.no_grad():
        patches = model.vision_model(batch()["pixel_values"][:, 0]).last_hidden_state
        torch.testing.assert_close(model.visual_projection(patches), patches @ model.visual_projection.weight.T)
