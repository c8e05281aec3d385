"""The tiny CLIP of the package loads offline, is small, and knows stills that it was not trained on."""

import numpy as np
import torch

from mv_peft.demo.pretrained import MAX_TEXT_TOKENS, TINY_CLIP, load_tiny_clip, load_tiny_processor
from mv_peft.demo.world import long_exposure, render_clip, sample_pairs
from mv_peft.retrieval import ranks, recall_at, retrieval_metrics


def embed(clips):
    """Return the similarity of held-out captions and stills, which are frames, or long exposures of events."""
    processor, model = load_tiny_processor(), load_tiny_clip().eval()
    renderings = [render_clip(clip, num_frames=12, size=32) for clip in clips]
    stills = [
        frames[6] if clip.kind == "still" else long_exposure(frames)
        for clip, frames in zip(clips, renderings, strict=True)
    ]
    batch = processor(text=[clip.caption for clip in clips], videos=[still[None] for still in stills])
    with torch.inference_mode():
        return model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            pixel_values=batch["pixel_values"][:, 0],
        ).logits_per_text


def test_the_folder_is_small():
    assert sum(path.stat().st_size for path in TINY_CLIP.iterdir()) < 2_500_000


def test_text_is_pooled_at_the_end_token_wherever_it_is():
    model, processor = load_tiny_clip().eval(), load_tiny_processor()
    # Transformers takes an end token of id 2 for a mistake of old checkpoints, and pools at the largest id instead.
    assert model.config.text_config.eos_token_id == processor.tokenizer.eos_token_id != 2
    assert model.config.text_config.max_position_embeddings == MAX_TEXT_TOKENS
    with torch.inference_mode():
        alone = model.get_text_features(**processor(text=["a red circle appears over snow"])).pooler_output
        padded = processor(text=["a red circle appears over snow", "a red circle moves from left to right over snow"])
        together = model.get_text_features(**padded).pooler_output
        assert torch.allclose(alone[0], together[0], atol=1e-5)
        last_word = model.get_text_features(**processor(text=["a red circle appears over sand"])).pooler_output
    assert not torch.allclose(alone, last_word, atol=1e-2)


def test_no_word_of_a_held_out_caption_is_unknown():
    processor = load_tiny_processor()
    captions = [clip.caption for pair in sample_pairs("test", 132, seed=0) for clip in pair]
    token_ids = processor(text=captions)["input_ids"]
    assert token_ids.shape[1] <= MAX_TEXT_TOKENS
    assert not (token_ids == processor.tokenizer.unk_token_id).any()
    assert (processor(text=["a zebra"])["input_ids"] == processor.tokenizer.unk_token_id).any()


def test_it_knows_held_out_stills():
    clips = [clip for pair in sample_pairs("test", 50, seed=0) for clip in pair]
    metrics = retrieval_metrics(embed(clips))
    assert metrics["t2v R@1"] > 80
    assert metrics["v2t R@1"] > 80


def test_it_knows_left_from_right_and_small_from_large():
    pairs = [pair for pair in sample_pairs("test", 132, seed=1) if pair[0].kind == "still"]
    similarity = torch.stack([embed(pair) for pair in pairs[:20]])
    right = [recall_at(ranks(both), 1) for both in similarity]
    assert np.mean(right) > 90
