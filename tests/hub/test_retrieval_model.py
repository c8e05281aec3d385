"""A model and its processor as a command line names them: with or without an adapter, from folders or the Hub."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPModel, CLIPProcessor

from mv_peft.demo.pretrained import TINY_CLIP, load_tiny_clip
from mv_peft.encoders import MVProcessor
from mv_peft.errors import CheckpointError
from mv_peft.hub import push_adapter
from mv_peft.hub.retrieval_model import load_retrieval_model
from tests.hub.conftest import CLIP, LORA, REPO, adapter_folder
from tests.models import adapter_config


def limits(processor: MVProcessor) -> tuple[int, int, str]:
    return processor.max_frames, processor.max_text_tokens, processor.frame_sampling


@pytest.mark.parametrize("saved", [None, CLIPProcessor, MVProcessor])
def test_zero_shot(tmp_path, saved):
    """The processor saved with the base model counts if it is one for videos."""
    load_tiny_clip().half().save_pretrained(tmp_path)
    for name in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((TINY_CLIP / name).read_bytes())
    if saved is MVProcessor:
        MVProcessor.from_pretrained(TINY_CLIP, max_frames=3, max_text_tokens=7).save_pretrained(tmp_path)
    elif saved is CLIPProcessor:
        CLIPProcessor.from_pretrained(TINY_CLIP).save_pretrained(tmp_path)
    model, processor = load_retrieval_model(tmp_path, max_frames=5, max_text_tokens=99)
    assert isinstance(model, CLIPModel)
    assert (model.dtype, model.training) == (torch.float32, False)
    if saved is MVProcessor:
        assert limits(processor)[:2] == (3, 7)
    else:
        assert limits(processor) == (5, 16, "fps_uniform")


@pytest.mark.parametrize("place", ["folder", "hub"])
@pytest.mark.parametrize("kind", ["processor", "limits", "neither"])
def test_with_an_adapter(hub, tmp_path, place, kind):
    config = LORA if kind == "neither" else adapter_config(max_frames=4, max_text_tokens=9)
    adapter = adapter_folder(tmp_path / "run", config, processor=kind == "processor")
    if place == "hub":
        push_adapter(adapter, REPO)
    model, processor = load_retrieval_model(CLIP, adapter if place == "folder" else REPO, max_frames=5)
    assert not model.training
    assert model.get_base_model().dtype == torch.float32
    # The saved processor takes 12 frames and 16 tokens, which are more than the adapter takes.
    expected = {"processor": (4, 9), "limits": (4, 9), "neither": (5, 16)}[kind]
    assert limits(processor)[:2] == expected
    batch = processor(text=["a red circle"], videos=[torch.zeros(6, 40, 48, 3, dtype=torch.uint8).numpy()])
    with torch.no_grad():
        assert model(**batch).logits_per_text.shape == (1, 1)


def test_a_base_model_without_a_processor(tmp_path):
    load_tiny_clip().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=f"Cannot load a processor for '{tmp_path}'"):
        load_retrieval_model(tmp_path)
