"""Agreement with the authors' program: embeddings, logits, loss and every adapter gradient, from its recordings."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPModel

from mv_peft import MVAdapterConfig, load_official_checkpoint, official_state_dict

GOLDEN = Path(__file__).parents[2] / "golden"
CONFIGURATIONS = ("msrvtt", "msvd", "native_heads", "var_adapter_subset", "var_md_idx_dict", "var_up_in")


def config_from_official(meta: dict) -> MVAdapterConfig:
    """Our configuration for a recording's hyper-parameters."""
    vision, text = meta["adapter_config"]["visual"]["mlp"], meta["adapter_config"]["text"]["mlp"]
    dynamic = meta["adapter_config"]["modal_dynamic"]
    tied = dynamic["adapter_idx"]
    tied = tied if isinstance(tied, dict) else {"visual": tied, "text": tied}
    return MVAdapterConfig(
        bottleneck_dim={"vision": vision["cls_mid"], "text": text["mid_dim"]},
        num_heads={"vision": vision["n_head"], "text": text["n_head"]},
        scaling={"vision": meta["adapter_scale"]["video"], "text": meta["adapter_scale"]["text"]},
        layers_to_transform={"vision": vision["adapter_idx"], "text": text["adapter_idx"]},
        max_frames=vision["seq_len"],
        max_text_tokens=text["seq_len"],
        tying_layers=[list(pair) for pair in zip(tied["visual"], tied["text"], strict=True)],
        tying_position=dynamic["position"].replace(" ", "_"),
        factor_dim=dynamic["factor_dim"],
    )


def load_backbone(name: str) -> CLIPModel:
    clip = CLIPModel(CLIPConfig.from_pretrained(GOLDEN / name)).eval()
    weights = {key: value.float() for key, value in load_file(GOLDEN / name / "backbone.safetensors").items()}
    clip.load_state_dict(weights, strict=True)
    return clip


def load_recorded(name: str) -> tuple[PeftModel, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    meta = json.loads((GOLDEN / name / "meta.json").read_text())
    model = get_peft_model(load_backbone(meta["backbone"]), config_from_official(meta))
    load_official_checkpoint(model, GOLDEN / name / "adapter_official.safetensors")
    inputs = load_file(GOLDEN / name / "inputs.safetensors")
    inputs.pop("attention_mask")  # the recordings have none
    return model, inputs, load_file(GOLDEN / name / "outputs.safetensors")


def gradients(model: PeftModel) -> dict[str, torch.Tensor]:
    """The gradients under the authors' names."""
    holder = copy.deepcopy(model)
    for theirs, ours in zip(holder.parameters(), model.parameters(), strict=True):
        if ours.grad is not None:
            theirs.data = ours.grad.clone()
    return official_state_dict(holder)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_embeddings_logits_and_loss(name):
    model, inputs, expected = load_recorded(name)
    with torch.no_grad():
        out = model(**inputs, return_loss=True)
        text = model.get_text_features(input_ids=inputs["input_ids"]).pooler_output
    torch.testing.assert_close(out.image_embeds, expected["video_embeds"], rtol=0, atol=3e-5)
    torch.testing.assert_close(text, expected["text_embeds"], rtol=0, atol=3e-5)
    torch.testing.assert_close(out.text_embeds, expected["text_embeds_normalised"], rtol=0, atol=3e-5)
    torch.testing.assert_close(out.logits_per_text, expected["logits_t2v"], rtol=0, atol=1e-4)
    torch.testing.assert_close(out.loss, expected["loss"].reshape(()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_embeddings_of_single_frames(name):
    model, inputs, expected = load_recorded(name)
    with torch.no_grad():
        frames = model.vision_model(inputs["pixel_values"], frame_mask=inputs["frame_mask"]).pooler_output
        frames = frames @ model.visual_projection.weight.T
    real = inputs["frame_mask"].bool()
    recorded = expected["video_embeds_per_frame"].reshape(frames.shape)
    torch.testing.assert_close(frames[real], recorded[real], rtol=0, atol=3e-5)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_without_adapters(name):
    model, inputs, expected = load_recorded(name)
    with torch.no_grad(), model.disable_adapter():
        out = model(**inputs)
    torch.testing.assert_close(out.logits_per_text, expected["noadapter_logits_t2v"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_gradient(name):
    model, inputs, _ = load_recorded(name)
    model(**inputs, return_loss=True).loss.backward()
    ours, recorded = gradients(model), load_file(GOLDEN / name / "grads.safetensors")
    assert ours.keys() == recorded.keys()
    for key, expected in recorded.items():
        got = ours[key]
        if key.endswith("in_proj_bias"):  # the key's third is zero in theory, and noise in practice
            dim = len(expected) // 3
            torch.testing.assert_close(got[dim : 2 * dim], expected[dim : 2 * dim], rtol=0, atol=1e-6)
        scale = expected.abs().max()
        assert scale > 0, key
        assert (got - expected).abs().max() <= 1e-4 * scale, key


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_official_state_dict_is_the_inverse(name):
    model, _, _ = load_recorded(name)
    source = load_file(GOLDEN / name / "adapter_official.safetensors")
    exported = official_state_dict(model)
    assert exported.keys() == source.keys()
    assert all(torch.equal(exported[key], source[key]) for key in source)


@pytest.mark.parametrize("tower", ["video", "text"])
def test_one_adapter_alone(tower):
    model, _, _ = load_recorded("msrvtt")
    recorded = load_file(GOLDEN / "msrvtt" / "module_io.safetensors")
    inputs = load_file(GOLDEN / "msrvtt" / "inputs.safetensors")
    encoder = model.vision_model if tower == "video" else model.text_model
    block = encoder.encoder.layers[-1].mlp.fc2.mv_adapter_block["default"]
    factor = model.cross_modality_tying.mv_adapter_factors["default"][-1]
    hidden = recorded[f"{tower}.layer3.in"].transpose(0, 1)  # recorded as (tokens, batch, width)
    with torch.no_grad():
        delta = block(hidden, inputs["frame_mask"].bool() if tower == "video" else None, factor)
    expected = recorded[f"{tower}.layer3.out"].transpose(0, 1)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(delta, expected, rtol=0, atol=3e-5)
