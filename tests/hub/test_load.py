"""What comes down is what went up, over the CLIP that it was trained on; and a stranger's repository does no harm."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from peft import PeftConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

import mv_peft
from mv_peft import MVAdapterConfig
from mv_peft.demo.pretrained import TINY_CLIP, load_tiny_clip
from mv_peft.encoders import MVProcessor
from mv_peft.errors import CheckpointError, HubError
from mv_peft.hub import pull_adapter, push_adapter
from mv_peft.tuners import METHODS, method_config
from mv_peft.tuners.mv_adapter.presets import PRESETS
from tests.hub.conftest import CLIP, LORA, REPO, adapter_folder, record
from tests.models import adapter_config

FRAMES = torch.randint(0, 256, (4, 40, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)).numpy()


SMALL = {"vera": {"r": 4}, "mv_adapter": {"bottleneck_dim": 8, "max_text_tokens": 16}}


def scores(model, processor) -> torch.Tensor:
    batch = processor(text=["a red circle grows", "a blue square"], videos=[FRAMES, FRAMES[::-1].copy()])
    with torch.no_grad():
        return model(**batch).logits_per_text


def edit(hub, name: str, **changes) -> None:
    """Changes a settings file of the repository, as a stranger would."""
    settings = json.loads(hub.files(REPO)[name])
    hub.add(REPO, {name: json.dumps({**settings, **changes}).encode()})


@pytest.mark.parametrize("subfolder", [None, "msrvtt", "sets/msrvtt"])
def test_round_trip_to_the_bit(hub, folder, subfolder):
    push_adapter(folder, REPO, subfolder=subfolder)
    model, processor = mv_peft.load(REPO, subfolder=subfolder)
    here, _ = mv_peft.load(folder)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(scores(model, processor), scores(here, processor))
    with model.disable_adapter():
        assert not torch.equal(scores(model, processor), scores(here, processor))
    saved = load_file(folder / "adapter_model.safetensors")
    plain = PeftModel.from_pretrained(CLIPModel.from_pretrained(CLIP), REPO, subfolder=subfolder)
    for loaded in (model, plain):
        state = {key.replace(".default", ""): value for key, value in loaded.state_dict().items()}
        assert all(torch.equal(state[key], value) for key, value in saved.items())
    assert processor.max_text_tokens == 16


@pytest.mark.parametrize("method", [name for name in METHODS if name != "zero-shot"] + ["lora+head", "mv_adapter+head"])
def test_every_method_of_the_comparison(hub, tmp_path, method):
    """Trained a little, pushed, and loaded as plain PEFT loads the folder."""
    clip = CLIPModel.from_pretrained(CLIP, dtype=torch.float32)
    config = method_config(clip, method, **SMALL.get(method.removesuffix("+head"), {}))
    push_adapter(adapter_folder(tmp_path / "run", config), REPO, subfolder="other")
    model, processor = mv_peft.load(REPO, subfolder="other", dtype=torch.float32)
    plain = mv_peft.enable_video(PeftModel.from_pretrained(clip, tmp_path / "run"))
    assert torch.equal(scores(model, processor), scores(plain, processor))
    zero_shot = mv_peft.enable_video(CLIPModel.from_pretrained(CLIP, dtype=torch.float32))
    assert not torch.equal(scores(model, processor), scores(zero_shot, processor))


def test_revisions(hub, folder, tmp_path):
    first = push_adapter(folder, REPO).oid
    second = adapter_folder(tmp_path / "2")
    push_adapter(second, REPO)
    push_adapter(folder, REPO, revision="old")
    for revision, source in ((first, folder), ("main", second), ("old", folder), (None, second)):
        model, processor = mv_peft.load(REPO, revision=revision)
        assert torch.equal(scores(model, processor), scores(mv_peft.load(source).model, processor)), revision
    with pytest.raises(HubError, match=r"Cannot load from 'org/adapters': it has no such revision \(404\)"):
        mv_peft.load(REPO, revision="none")


def test_the_revision_of_the_base_model_is_the_adapters(hub, folder):
    pinned = hub.repos[CLIP].branches["main"]
    other = {key: value * 0 for key, value in load_file(TINY_CLIP / "model.safetensors").items()}
    save_file(other, folder / "zeros.safetensors", {"format": "pt"})
    hub.add(CLIP, {"model.safetensors": (folder / "zeros.safetensors").read_bytes()})
    push_adapter(folder, REPO, subfolder="floating")
    metrics = record()
    metrics["base_model"]["revision"] = pinned
    (folder / "metrics.json").write_text(json.dumps(metrics))
    push_adapter(folder, REPO, subfolder="pinned")
    mv_peft.load(REPO, subfolder="pinned")
    with pytest.raises(CheckpointError, match="its weights differ"):
        mv_peft.load(REPO, subfolder="floating")


def test_another_base_is_an_error_or_a_warning(hub, folder):
    push_adapter(folder, REPO)
    other = load_tiny_clip()
    with torch.no_grad():
        other.visual_projection.weight.mul_(1.5)
    with pytest.raises(
        CheckpointError, match=rf"is not the model that the adapter was trained on \('{CLIP}'\): its weights"
    ):
        mv_peft.load(REPO, base_model=other)
    assert not hasattr(other, "peft_config")
    with pytest.warns(UserWarning, match="its weights differ. The adapter may do anything"):
        model, _ = mv_peft.load(REPO, base_model=other, allow_other_base=True)
    assert model.get_base_model() is other


def test_a_base_of_another_size_or_function(hub, folder):
    push_adapter(folder, REPO)
    from tests.models import tiny_clip

    with pytest.raises(
        CheckpointError, match="tensors of adapter_model.safetensors are missing, left over or of another"
    ):
        mv_peft.load(REPO, base_model=tiny_clip(), allow_other_base=True)
    config = load_tiny_clip().config
    config.text_config.num_attention_heads = 1
    other = CLIPModel(config)
    with pytest.raises(CheckpointError, match="its architecture differs"):
        mv_peft.load(REPO, base_model=other)
    with pytest.raises(TypeError, match="Linear is not among the dual encoders"):
        mv_peft.load(REPO, base_model=torch.nn.Linear(2, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_the_same_base(hub, folder, dtype, recwarn):
    push_adapter(folder, REPO)
    model, _ = mv_peft.load(REPO, dtype=dtype)
    assert model.get_base_model().visual_projection.weight.dtype == dtype
    half, _ = mv_peft.load(REPO, base_model=CLIPModel.from_pretrained(CLIP, dtype=dtype))
    assert half.get_base_model().dtype == dtype
    assert not [warning for warning in recwarn if "trained on" in str(warning.message)]


def test_an_unknown_base_is_said_to_be_unchecked(hub, folder, caplog):
    (folder / "metrics.json").unlink()
    push_adapter(folder, REPO)
    with caplog.at_level(logging.WARNING, logger="mv_peft"):
        mv_peft.load(REPO)
    assert "the base model is not checked" in caplog.text


def test_five_data_sets_on_one_backbone(hub, tmp_path):
    """All presets in one CLIP: each as if it were alone, by switching and in one mixed batch."""
    alone = {}
    for name in PRESETS:
        config = MVAdapterConfig.from_preset(
            name, bottleneck_dim=8, max_text_tokens=16, tying_layers=1, init_weights=False, scaling=1.0
        )
        push_adapter(adapter_folder(tmp_path / name, config), REPO, subfolder=name)
        model, processor = mv_peft.load(REPO, subfolder=name)
        alone[name] = scores(model, processor)
    first, *others = PRESETS
    model, processor = mv_peft.load(REPO, subfolder=first, adapter_name=first)
    for name in others:
        again, _ = mv_peft.load(REPO, subfolder=name, base_model=model, adapter_name=name)
        assert again is model
    assert set(model.peft_config) == set(PRESETS)
    for name in (*PRESETS, first):
        model.set_adapter(name)
        assert torch.equal(scores(model, processor), alone[name]), name
    assert not torch.allclose(alone[first], alone[others[0]])
    batch = processor(text=len(PRESETS) * ["a red circle grows"], videos=len(PRESETS) * [FRAMES])
    with torch.no_grad():
        mixed = model(**batch, adapter_names=list(PRESETS))
        for row, name in enumerate(PRESETS):
            model.set_adapter(name)
            own = model(**batch)
            torch.testing.assert_close(mixed.image_embeds[row], own.image_embeds[row], rtol=0, atol=2e-6)
            torch.testing.assert_close(mixed.text_embeds[row], own.text_embeds[row], rtol=0, atol=2e-6)
    assert mixed.image_embeds.std(dim=0).max() > 1e-3


def test_plain_peft_loads_several_into_one_clip(hub, folder, tmp_path):
    push_adapter(folder, REPO, subfolder="a")
    push_adapter(adapter_folder(tmp_path / "b", LORA), REPO, subfolder="b-lora")
    push_adapter(adapter_folder(tmp_path / "c"), REPO, subfolder="c")
    clip = CLIPModel.from_pretrained(CLIP)
    model = PeftModel.from_pretrained(clip, REPO, adapter_name="a", subfolder="a", revision="main")
    model.load_adapter(REPO, "c", subfolder="c")
    _, processor = mv_peft.load(REPO, subfolder="c")
    model.set_adapter("c")
    assert torch.equal(scores(model, processor), scores(*mv_peft.load(tmp_path / "c")))


def test_cache_offline_and_local_files_only(hub, folder, tmp_path, monkeypatch):
    push_adapter(folder, REPO, subfolder="a")
    with pytest.raises(HubError, match="Cannot load from 'org/adapters', subfolder 'a': it is not in the cache"):
        mv_peft.load(REPO, subfolder="a", local_files_only=True)
    online, processor = mv_peft.load(REPO, subfolder="a")
    hub.log.clear()
    cached, _ = mv_peft.load(REPO, subfolder="a", local_files_only=True)
    assert hub.log == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline, _ = mv_peft.load(REPO, subfolder="a")
    assert hub.log == []
    for model in (cached, offline):
        assert torch.equal(scores(model, processor), scores(online, processor))
    with pytest.raises(HubError, match="it is not in the cache"):
        mv_peft.load(REPO, subfolder="a", cache_dir=tmp_path / "empty")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    mv_peft.load(REPO, subfolder="a")
    assert not hub.count("GET .*lfs-storage")  # asked whether it has changed, not downloaded again
    mv_peft.load(REPO, subfolder="a", force_download=True)
    assert hub.count("GET .*lfs-storage") == 2


def test_a_download_that_is_cut_goes_on_where_it_was(hub, folder, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)  # of 10 MB, which the adapter does not have
    push_adapter(folder, REPO)
    clip = CLIPModel.from_pretrained(CLIP)
    hub.fail("GET /lfs-storage/", None)
    model, processor = mv_peft.load(REPO, base_model=clip)
    assert hub.count("GET /lfs-storage/.* cut") == 1
    assert hub.count("GET /lfs-storage/.* 206") == 1
    assert torch.equal(scores(model, processor), scores(mv_peft.load(folder).model, processor))


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ("GET .*/revision/main", 401, r"\(401\).*hf auth login"),
        ("GET .*/revision/main", 500, "the Hub answers 500"),
        ("GET .*/tree/", 403, r"\(403\)"),
        ("HEAD .*adapter_config.json", 403, r"\(403\)"),
        ("GET /lfs-storage/", None, "the connection broke"),
        ("GET /lfs-storage/", 403, r"\(403\)"),
        ("GET .*/revision/main", 429, r"\(429\)"),
    ],
)
def test_downloads_that_fail(hub, folder, monkeypatch, request_, status, message):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    push_adapter(folder, REPO)
    shutil.rmtree(constants.HF_HUB_CACHE, ignore_errors=True)
    hub.fail(request_, status, times=1000)
    with pytest.raises(HubError, match=f"Cannot load from 'org/adapters': .*{message}"):
        mv_peft.load(REPO, base_model=load_tiny_clip())


def test_what_is_not_there(hub, folder):
    with pytest.raises(HubError, match=r"Cannot load from 'org/none': there is no such repository.*\(404\)"):
        mv_peft.load("org/none")
    push_adapter(folder, REPO, subfolder="a")
    with pytest.raises(CheckpointError, match="There is no adapter in 'org/adapters', subfolder 'b'. `mv-peft list"):
        mv_peft.load(REPO, subfolder="b")
    with pytest.raises(CheckpointError, match="it has no adapter_config.json"):
        mv_peft.load(CLIP)
    with pytest.raises(ValueError, match="`subfolder` must be names"):
        mv_peft.load(REPO, subfolder="../a")
    with pytest.raises(ValueError, match="A repository is named as"):
        mv_peft.load("../a/b")
    with pytest.raises(ValueError, match="`revision` is of a repository on the Hub"):
        mv_peft.load(folder, revision="main")
    with pytest.raises(ValueError, match="Leave `dtype` out"):
        mv_peft.load(folder, base_model=load_tiny_clip(), dtype=torch.float16)


def test_a_base_model_that_the_hub_does_not_give(hub, folder, monkeypatch):
    push_adapter(folder, REPO)
    hub.fail("(GET|HEAD) /org/tiny-clip/", 403, times=1000)
    with pytest.raises(HubError, match=r"Cannot load the base model 'org/tiny-clip': .*\(403\)"):
        mv_peft.load(REPO)
    hub.faults.clear()
    del hub.repos[CLIP]
    with pytest.raises(HubError, match="Cannot load the base model 'org/tiny-clip': there is no such repository"):
        mv_peft.load(REPO)


def test_a_private_repository_wants_a_token(hub, folder, monkeypatch):
    push_adapter(folder, REPO, private=True)
    mv_peft.load(REPO)
    shutil.rmtree(constants.HF_HUB_CACHE)
    with pytest.raises(HubError, match=r"\(401\).*hf auth login"):
        mv_peft.load(REPO, token=False)


def test_a_damaged_number_is_found(hub, folder):
    push_adapter(folder, REPO)
    content = bytearray(hub.files(REPO)["adapter_model.safetensors"])
    content[-1] ^= 1
    hub.add(REPO, {"adapter_model.safetensors": bytes(content)})
    with pytest.raises(CheckpointError, match="is damaged: it is not the file that was pushed"):
        mv_peft.load(REPO)


def test_a_file_that_is_cut_in_the_cache(hub, folder):
    push_adapter(folder, REPO)
    mv_peft.load(REPO)
    (path,) = Path(constants.HF_HUB_CACHE).rglob("snapshots/*/adapter_model.safetensors")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(CheckpointError, match=r"is (cut off or )?damaged.*force_download=True"):
        mv_peft.load(REPO)
    mv_peft.load(REPO, force_download=True)


def test_pickles_are_never_read(hub, folder):
    push_adapter(folder, REPO)

    class Bomb:
        def __reduce__(self):
            return (os._exit, (3,))

    hub.add(REPO, {"adapter_model.bin": b"not even a pickle"})
    torch.save({"x": Bomb()}, folder / "bomb.bin")
    files = dict(hub.files(REPO))
    del files["adapter_model.safetensors"]
    files["adapter_model.bin"] = (folder / "bomb.bin").read_bytes()
    hub.repos[REPO].commit("main", files)
    hub.log.clear()
    with pytest.raises(CheckpointError, match="no adapter_model.safetensors. Weights in a .bin file are a pickle"):
        mv_peft.load(REPO)
    assert not hub.count("adapter_model.bin")


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_a_base_without_safetensors_is_not_unpickled(hub, folder, kind):
    push_adapter(folder, REPO)
    files = {path: content for path, content in hub.files(CLIP).items() if path != "model.safetensors"}
    if kind == "bin":
        torch.save(load_tiny_clip().state_dict(), folder / "clip.bin")
        files["pytorch_model.bin"] = (folder / "clip.bin").read_bytes()
    hub.repos[CLIP].commit("main", files)
    with pytest.raises(CheckpointError, match="Cannot load 'org/tiny-clip': .*safetensors"):
        mv_peft.load(REPO)
    mv_peft.load(REPO, base_model=load_tiny_clip())


HOSTILE = {
    "bottleneck_dim": (10**12, "`bottleneck_dim` must be at most 1024, got 1000000000000"),
    "calibration_dim": (10**9, "`calibration_dim` must be at most 1024"),
    "factor_dim": (10**9, "`factor_dim` must be at most 4096"),
    "max_frames": (10**9, "`max_frames` must be at most 4096, got 1000000000"),
    "max_text_tokens": (10**9, "`max_text_tokens` must be at most 4096"),
    "layers_to_transform": (list(range(5000)), "`layers_to_transform` must have at most 1024 entries, got 5000"),
    "tying_layers": ([[n, n] for n in range(5000)], "`tying_layers` must have at most 1024 entries"),
    "target_modules": (5000 * ["fc2"], "`target_modules` must have at most 1024 entries"),
    "modules_to_save": (5000 * ["visual_projection"], "`modules_to_save` must have at most 1024 entries"),
}


@pytest.mark.parametrize("field", HOSTILE)
def test_sizes_are_bounded_before_anything_is_allocated(hub, folder, field):
    value, message = HOSTILE[field]
    push_adapter(folder, REPO)
    edit(hub, "adapter_config.json", **{field: value})
    with pytest.raises(CheckpointError, match=f"The configuration in .* is refused: {message}"):
        mv_peft.load(REPO)
    with pytest.raises(ValueError, match=message):
        PeftModel.from_pretrained(load_tiny_clip(), REPO)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bottleneck_dim": 1024}, "tensors of adapter_model.safetensors are missing, left over or of another shape"),
        ({"max_frames": 4096}, "of another shape"),
        ({"tying_layers": 0}, "left over"),
        ({"tying_layers": 900}, "cannot be put into this CLIPModel: `tying_layers` = 900 exceeds"),
        ({"peft_type": "NO_SUCH"}, "is of the method 'NO_SUCH', unknown to this PEFT"),
        ({"peft_type": "PROMPT_TUNING"}, "which does not fit a dual encoder|is refused"),
        ({"peft_type": "XLORA"}, "which does not fit a dual encoder|is refused"),
        ({"pad": list(range(20_000))}, "holds a list of 20000 entries"),
        ({"base_model_name_or_path": "/etc"}, "names '/etc' as its base model, which is no name on the Hub"),
        ({"base_model_name_or_path": "../../x"}, "names '../../x' as its base model"),
    ],
)
def test_configurations_that_do_not_fit_their_file(hub, folder, changes, message):
    push_adapter(folder, REPO)
    edit(hub, "adapter_config.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        mv_peft.load(REPO)


def test_the_sizes_of_other_methods_are_those_of_the_file(hub, tmp_path):
    push_adapter(adapter_folder(tmp_path / "run", LORA), REPO)
    edit(hub, "adapter_config.json", r=10**9)
    with pytest.raises(CheckpointError, match="of another shape"):
        mv_peft.load(REPO)
    edit(hub, "adapter_config.json", r=10**18)
    with pytest.raises(CheckpointError, match="cannot be put into this CLIPModel|of another shape"):
        mv_peft.load(REPO)


@pytest.mark.parametrize("key", ["megatron_config", "layer_replication", "corda_config"])
def test_settings_by_which_peft_would_import_or_read_something(hub, tmp_path, key):
    push_adapter(adapter_folder(tmp_path / "run", LORA), REPO)
    edit(hub, "adapter_config.json", **{key: {"x": 1}, "megatron_core": "antigravity"})
    with pytest.raises(CheckpointError, match=f"sets `{key}`, which is not taken from others"):
        mv_peft.load(REPO)


def test_a_stranger_cannot_run_code(hub, folder, monkeypatch):
    push_adapter(folder, REPO)
    code = b"open('/tmp/mv_peft_was_here', 'w')\nraise SystemExit('code ran')\n"
    hub.add(REPO, dict.fromkeys(("evil.py", "configuration_evil.py", "processing_evil.py", "custom_generate.py"), code))
    auto_map = {"AutoProcessor": "processing_evil.X", "AutoTokenizer": ["evil.X", "evil.X"], "AutoConfig": "evil.X"}
    auto_mapping = {"parent_library": "evil", "base_model_class": "X"}
    edit(hub, "adapter_config.json", auto_mapping=auto_mapping, auto_map=auto_map)
    edit(hub, "processor_config.json", auto_map=auto_map)
    edit(hub, "tokenizer_config.json", auto_map=auto_map)
    hub.add(
        CLIP, {"config.json": json.dumps({**json.loads(hub.files(CLIP)["config.json"]), "auto_map": auto_map}).encode()}
    )
    model, processor = mv_peft.load(REPO)
    assert scores(model, processor).isfinite().all()
    assert not hub.count(r"\.py")
    assert not Path("/tmp/mv_peft_was_here").exists()
    assert model.peft_config["default"].auto_mapping is None


def test_a_file_cannot_replace_weights_of_clip(hub, folder):
    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.visual_projection.weight"] = torch.zeros(48, 96)
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    push_adapter(folder, REPO)
    with pytest.raises(CheckpointError, match=r"left over.*visual_projection.weight"):
        mv_peft.load(REPO)


def test_the_processor_is_the_adapters_or_the_clips(hub, tmp_path, caplog):
    folder = adapter_folder(tmp_path / "run", adapter_config(max_frames=3, max_text_tokens=9), processor=False)
    push_adapter(folder, REPO)
    _, processor = mv_peft.load(REPO)
    assert (processor.max_frames, processor.max_text_tokens) == (3, 9)
    for frames, expected in ((2, 2), (8, 3)):  # its own, unless the adapter takes less
        MVProcessor.from_pretrained(TINY_CLIP, max_frames=frames, max_text_tokens=16).save_pretrained(folder)
        _, processor = mv_peft.load(folder)
        assert (processor.max_frames, processor.max_text_tokens) == (expected, 9)
    clip = load_tiny_clip()
    clip.config._name_or_path = ""
    assert mv_peft.load(REPO, base_model=clip).processor is None


def test_a_folder_loads_as_a_repository_does(folder):
    model, processor = mv_peft.load(folder, base_model=TINY_CLIP)
    assert isinstance(PeftConfig.from_pretrained(folder), MVAdapterConfig)
    assert scores(model, processor).shape == (2, 2)
    trainable, _ = mv_peft.load(folder, base_model=TINY_CLIP, is_trainable=True)
    assert any(parameter.requires_grad for parameter in trainable.parameters())


def test_pull_gives_a_folder_of_its_own(hub, folder, tmp_path):
    push_adapter(folder, REPO, subfolder="a")
    hub.add(REPO, {"a/notes.txt": b"not asked for"})
    output = pull_adapter(REPO, tmp_path / "deep" / "pulled", subfolder="a")
    assert {path.name: path.read_bytes() for path in output.iterdir()} == {
        path.removeprefix("a/"): content
        for path, content in hub.files(REPO).items()
        if path.startswith("a/") and path != "a/notes.txt"
    }
    assert not any(path.is_symlink() for path in output.iterdir())
    assert torch.equal(scores(*mv_peft.load(output)), scores(*mv_peft.load(REPO, subfolder="a")))
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        pull_adapter(REPO, output, subfolder="a")
    hub.fail("GET .*/revision/main", 404, times=9)
    with pytest.raises(HubError, match="404"):
        pull_adapter("org/x", tmp_path / "none")
    assert not (tmp_path / "none").exists()
