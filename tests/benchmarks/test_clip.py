"""The tiny models of the worlds: the kept CLIP knows its world's stills, and other models are trained only once."""

from __future__ import annotations

import sys

import pytest
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, CLIPModel, SiglipModel

from benchmarks.pretrain import clip as command
from benchmarks.pretrain import demo_clip
from benchmarks.pretrain.clip import Pretraining, draw_stills, exposures, load_clip, pretrain, without_repetition
from benchmarks.pretrain.stills import fit, still_recall, to_pixel_values, tokenize
from benchmarks.pretrain.tiny_models import MAX_TEXT_TOKENS, build_siglip, build_tokenizer
from benchmarks.worlds import draw


def test_the_kept_clip_finds_stills_of_captions_that_it_has_not_seen() -> None:
    clip, processor = load_clip("shapes")
    clips = draw("shapes", "validation", 400, paired=True, num_frames=12, seed=0)
    assert still_recall(clip, processor.tokenizer, clips.captions, exposures(clips)) > 85
    assert clip.dtype == torch.float32


def test_the_kept_clip_does_not_tell_frames_one_by_one_from_their_reversal() -> None:
    """What it learned from long exposures does not help on frames. This is what the methods are compared in."""
    from benchmarks.compare.in_memory import similarity
    from benchmarks.compare.measure import caption_groups, order_metrics
    from mv_peft import enable_video

    clip, processor = load_clip("shapes")
    clips = draw("shapes", "validation", 200, paired=True, num_frames=6, seed=0)
    captions, _ = caption_groups(clips.captions)
    found = order_metrics(similarity(enable_video(clip), processor, clips, captions), clips, ("move", "turn", "order"))
    assert 35 < found["t2v order accuracy"] < 65


def test_stills_come_in_twins_and_from_other_clips_than_methods_train_on() -> None:
    captions, stills = draw_stills("shapes", 40)
    assert stills.shape == (40, 32, 32, 3)
    assert stills.dtype == torch.uint8
    assert len(captions) == 40
    trained_on = draw("shapes", "train", 40, paired=True, num_frames=12, seed=0)
    assert set(captions) != set(trained_on.captions)
    events = [(one, other) for one, other in zip(captions[::2], captions[1::2], strict=True) if " turns " in one]
    assert events
    for one, other in events:
        assert one != other
        assert sorted(one.split()) == sorted(other.split())


def test_a_batch_holds_no_caption_twice() -> None:
    number = torch.tensor([0, 1, 0, 2, 1])
    assert without_repetition(torch.tensor([4, 2, 0, 3, 1]), number).tolist() == [4, 2, 3]


def test_a_clip_is_trained_once(tmp_path) -> None:
    one, _ = load_clip("shapes", steps=2, cache=tmp_path)
    (folder,) = tmp_path.iterdir()
    written = (folder / "model.safetensors").stat().st_mtime_ns
    other, processor = load_clip("shapes", steps=2, cache=tmp_path)
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert processor(text=["a red star grows at the top over snow"]).input_ids.shape == (1, 11)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    """The folder of a SigLIP after two steps, and what `pretrain` returned."""
    folder = tmp_path_factory.mktemp("siglip")
    return folder, *pretrain("shapes", folder, Pretraining(64, 2, 16), family="siglip")


def test_a_siglip_has_the_sizes_and_the_tokenizer_of_the_clip(siglip) -> None:
    _, model, tokenizer = siglip
    clip, processor = load_clip("shapes")
    assert isinstance(model, SiglipModel)
    for tower in ("text_config", "vision_config"):
        ours, theirs = (getattr(each.config, tower) for each in (model, clip))
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"):
            assert getattr(ours, name) == getattr(theirs, name)
    assert (model.config.vision_config.image_size, model.config.vision_config.patch_size) == (32, 8)
    assert model.config.text_config.vocab_size >= len(tokenizer)
    words = set(processor.tokenizer.get_vocab())
    assert set(tokenizer.get_vocab()) <= words


def test_captions_are_padded_as_the_family_is_used_to(siglip) -> None:
    _, model, tokenizer = siglip
    clip, processor = load_clip("shapes")
    captions = ["a red star grows at the top over snow"]
    assert tokenize(model, tokenizer, captions).shape == (1, MAX_TEXT_TOKENS)
    assert tokenize(clip, processor.tokenizer, captions).shape == (1, 11)


def test_the_sigmoid_loss_starts_as_in_the_paper(siglip) -> None:
    _, model, _ = siglip
    assert model.logit_scale.exp().item() == pytest.approx(10, rel=0.02)
    assert model.logit_bias.item() == pytest.approx(-10, rel=0.02)


def test_the_folder_of_a_siglip_is_complete(siglip) -> None:
    folder, model, _ = siglip
    tokenizer, images = AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
    again = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    captions = ["a red star grows at the top over snow", "a small blue circle rests at the left over sand"]
    batch = tokenizer(captions, padding="max_length", return_tensors="pt")
    assert batch.input_ids.shape == (2, MAX_TEXT_TOKENS)
    assert (batch.input_ids[:, -1] == tokenizer.pad_token_id).all()
    _, stills = draw_stills("shapes", 2)
    pixel_values = images([still.numpy() for still in stills], return_tensors="pt").pixel_values
    torch.testing.assert_close(pixel_values, to_pixel_values(stills), atol=1e-5, rtol=0)
    logits = [
        each(input_ids=batch.input_ids, pixel_values=pixel_values).logits_per_text.detach() for each in (model, again)
    ]
    torch.testing.assert_close(logits[0], logits[1])
    assert logits[0].std() > 0


def test_a_siglip_learns_stills_with_its_own_loss() -> None:
    """Thirty steps on sixteen stills: the loss falls and stills are found better than by chance."""
    torch.manual_seed(0)
    captions, stills = draw_stills("shapes", 16)
    tokenizer = build_tokenizer(captions)
    model = build_siglip(tokenizer)
    token_ids = tokenize(model, tokenizer, captions)

    def loss() -> float:
        with torch.no_grad():
            return model(input_ids=token_ids, pixel_values=to_pixel_values(stills), return_loss=True).loss.item()

    before = loss()
    fit(model, lambda: (token_ids, stills), steps=30, description="test")
    assert before > 5
    assert loss() < 0.5 * before


def test_the_command_prints_the_recall(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(command, "PRETRAINING", {"shapes": Pretraining(64, 2, 16)})
    monkeypatch.setattr(command, "NUM_VALIDATION_STILLS", 20)
    monkeypatch.setattr(sys, "argv", ["clip", "--data", "shapes", "--output", str(tmp_path / "clip")])
    command.main()
    out = capsys.readouterr().out
    assert "t2v R@1 among 20 validation stills, natural: " in out
    assert "t2v R@1 among 20 validation stills, twin: " in out
    assert isinstance(AutoModel.from_pretrained(tmp_path / "clip"), CLIPModel)


def test_the_demo_s_clip_is_made_by_the_same_code(tmp_path, monkeypatch, capsys) -> None:
    arguments = ["--steps", "1", "--batch-size", "8", "--renderings", "1", "--output", str(tmp_path / "demo")]
    monkeypatch.setattr(sys, "argv", ["demo_clip", *arguments])
    demo_clip.main()
    assert "t2v R@1 among 132 validation stills: " in capsys.readouterr().out
    assert isinstance(AutoModel.from_pretrained(tmp_path / "demo"), CLIPModel)
