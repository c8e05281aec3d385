"""`mv-peft convert` in both directions: exact to the bit, and leaving nothing behind when it fails."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from mv_peft import MVAdapterConfig, load_official_checkpoint, official_state_dict
from mv_peft.cli.main import main
from mv_peft.tuners.mv_adapter import conversion
from tests.models import batch, clip_config, tiny_clip

SETTINGS = {
    "bottleneck_dim": {"vision": 8, "text": 4},
    "max_frames": 6,
    "max_text_tokens": 10,
    "tying_layers": [[2, 0], [0, 1]],
    "tying_position": "up_in",
    "scaling": 0.7,
}
SET = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={json.dumps(value)}")]


def random_state(config: MVAdapterConfig, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    state = official_state_dict(get_peft_model(tiny_clip(), config))
    generator = torch.Generator().manual_seed(5)
    return {key: torch.randn(value.shape, generator=generator).to(dtype) for key, value in state.items()}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        ours[key].dtype == theirs[key].dtype and torch.equal(ours[key], theirs[key]) for key in theirs
    )


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    """A base model of which only the configuration is there."""
    clip_config().save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


@pytest.fixture
def convert(tmp_path, clip_folder, monkeypatch, capsys):
    """Runs the command in an empty folder; the exit code, what it printed, and what it complained of."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, model: object = clip_folder) -> tuple[int, str, str]:
        try:
            code = main(["convert", "--model", str(model), *map(str, arguments)])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def state() -> dict[str, Tensor]:
    return random_state(MVAdapterConfig(**SETTINGS))


@pytest.fixture
def checkpoint(tmp_path, state) -> Path:
    torch.save(state, tmp_path / "best.pth")
    return tmp_path / "best.pth"


@pytest.fixture
def adapter(tmp_path, state) -> Path:
    """The folder of an adapter that holds `state`, saved by PEFT."""
    model = get_peft_model(tiny_clip(), MVAdapterConfig(**SETTINGS))
    load_official_checkpoint(model, state)
    model.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_into_an_adapter_folder(convert, checkpoint, state, clip_folder, tmp_path):
    code, out, err = convert(checkpoint, *SET, "--output", "deep/adapter")
    folder = tmp_path / "deep" / "adapter"
    assert (code, out.splitlines()[0]) == (
        0,
        f"{len(state)} tensors copied; passed over: 0 repetitions of shared factors, "
        "0 tensors without effect, 0 of CLIP itself",
    ), err
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["adapter"]
    config = MVAdapterConfig.from_pretrained(str(folder))
    assert config.base_model_name_or_path == str(clip_folder)
    assert {name: getattr(config, name) for name in SETTINGS} == SETTINGS

    model = PeftModel.from_pretrained(tiny_clip(), str(folder))
    assert same(official_state_dict(model), state)
    expected = get_peft_model(tiny_clip(), MVAdapterConfig(**SETTINGS)).eval()
    load_official_checkpoint(expected, state)
    with torch.no_grad():
        logits = expected(**batch()).logits_per_text
        assert torch.equal(model(**batch()).logits_per_text, logits)
        with expected.disable_adapter():
            assert not torch.allclose(expected(**batch()).logits_per_text, logits, atol=1e-2)


def test_transformers_loads_the_folder(convert, checkpoint, state):
    assert convert(checkpoint, *SET, "--output", "adapter")[0] == 0
    clip = tiny_clip()
    clip.load_adapter("adapter")
    assert same(official_state_dict(clip), state)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_there_and_back(convert, checkpoint, state, tmp_path, suffix):
    assert convert(checkpoint, *SET, "--output", "adapter")[0] == 0
    code, out, _ = convert("adapter", "--to-official", "--output", f"back.{suffix}")
    assert (code, out.splitlines()[0]) == (0, f"{len(state)} tensors copied")
    back = tmp_path / f"back.{suffix}"
    assert same(load_file(back) if suffix == "safetensors" else torch.load(back, weights_only=True), state)


def test_an_adapter_saved_by_peft(convert, adapter, state):
    assert convert(adapter, "--to-official", "--output", "back.safetensors")[0] == 0
    assert same(load_file("back.safetensors"), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept(convert, tmp_path, dtype):
    state = random_state(MVAdapterConfig(**SETTINGS), dtype)
    save_file(state | {"clip.logit_scale": torch.tensor(4.6)}, tmp_path / "half.safetensors")
    assert convert("half.safetensors", *SET, "--output", "adapter")[0] == 0
    assert {value.dtype for value in load_file("adapter/adapter_model.safetensors").values()} == {dtype}
    assert convert("adapter", "--to-official", "--output", "back.pth")[0] == 0
    assert same(torch.load("back.pth", weights_only=True), state)


def test_mixed_precision_becomes_float32(convert, state, tmp_path):
    state["clip.prompt.0"] = state["clip.prompt.0"].half()
    torch.save(state, tmp_path / "mixed.pth")
    assert convert("mixed.pth", *SET, "--output", "adapter")[0] == 0
    assert convert("adapter", "--to-official", "--output", "back.pth")[0] == 0
    assert same(torch.load("back.pth", weights_only=True), {key: value.float() for key, value in state.items()})


def test_the_weights_of_clip_are_never_created(checkpoint, clip_folder):
    model, _ = conversion.adapter_from_official(checkpoint, str(clip_folder), MVAdapterConfig(**SETTINGS))
    for name, parameter in model.named_parameters():
        assert parameter.is_meta != ("mv_adapter" in name), name


@pytest.mark.parametrize("preset", ["msrvtt", "activitynet"])
def test_presets_and_bare_words(convert, tmp_path, preset):
    clip_config(vision_layers=2).save_pretrained(tmp_path / "shallow")
    config = MVAdapterConfig.from_preset(preset, tying_position="down_out")
    state = official_state_dict(get_peft_model(tiny_clip(vision_layers=2), config))
    torch.save(state, tmp_path / "best.pth")
    arguments = ["best.pth", "--preset", preset, "--set", "tying_position=down_out", "--output", "adapter"]
    assert convert(*arguments, model=tmp_path / "shallow")[0] == 0
    saved = MVAdapterConfig.from_pretrained("adapter")
    assert (saved.tying_position, saved.max_frames, saved.pre_norm) == ("down_out", config.max_frames, config.pre_norm)


def test_the_default_is_the_papers_setting(convert, tmp_path):
    torch.save(random_state(MVAdapterConfig()), tmp_path / "best.pth")
    assert convert("best.pth", "--output", "adapter")[0] == 0
    assert MVAdapterConfig.from_pretrained("adapter").bottleneck_dim == MVAdapterConfig().bottleneck_dim


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "botleneck=8"], r"Unknown field 'botleneck' in `--set`. Choose from: bottleneck_dim, .* pre_norm"),
        (["--set", "inference_mode=true"], r"Unknown field 'inference_mode'"),
        (["--set", "peft_method=lora"], r"Unknown field 'peft_method'"),
        (["--set", 'modules_to_save=["visual_projection"]'], r"Unknown field 'modules_to_save'"),
        (["--set", "num_heads"], r"must be FIELD=VALUE, got 'num_heads'"),
        (["--set", "tying_layers=[[2,0]"], r"the value of `tying_layers` must be JSON, got '\[\[2,0\]'"),
        (["--set", "pre_norm=True"], r"the value of `pre_norm` must be JSON, got 'True'"),
        (["--set", "num_heads=-3"], r"`num_heads` must be positive, got -3"),
        (["--set", "pre_norm=yes"], r"`pre_norm` must be True or False, got 'yes'"),
        (["--set", "max_frames=6", "--set", "max_frames=7"], r"names 'max_frames' twice"),
        (["--preset", "msrvt"], r"Unknown preset 'msrvt'. Choose from: .*msrvtt"),
        (["--to-official", "--preset", "msrvtt"], r"have no effect with `--to-official`"),
        (["--to-official"], r"must end in .safetensors or .pth with `--to-official`, got 'output'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_in_the_arguments(convert, checkpoint, tmp_path, arguments, message):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = convert(checkpoint, *arguments, "--output", "output")
    assert (code, out) == (2, "")
    assert re.search(r"^mv-peft convert: error: .*" + message, err, re.MULTILINE), err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_without_to_official(convert, adapter):
    code, _, err = convert(adapter, "--output", "output")
    assert code == 2
    assert re.search(r"saved' is a folder. Give a checkpoint file, or `--to-official`", err)


def refused(result: tuple[int, str, str], message: str) -> bool:
    code, out, err = result
    assert (code, out) == (1, "")
    assert re.fullmatch(rf"mv-peft: error: .*{message}.*\n", err), err
    return True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("clip.prompt.1"), r"1 missing \(clip.prompt.1\)"),
        (lambda state: state.update({"clip.prompt.2": torch.zeros(32)}), r"1 left over \(clip.prompt.2\)"),
        (lambda state: state.update({"clip.prompt.1": torch.zeros(31)}), r"clip.prompt.1 is \(31,\), not \(32,\)"),
        (lambda state: state.update({"epoch": 3}), r"bad.pth' holds no state dict: 'epoch' is int"),
    ],
    ids=["missing", "left over", "shape", "not a tensor"],
)
def test_a_checkpoint_that_does_not_fit(convert, state, tmp_path, change, message):
    change(state)
    torch.save(state, tmp_path / "bad.pth")
    before = sorted(tmp_path.rglob("*"))
    assert refused(convert("bad.pth", *SET, "--output", "deep/adapter"), message)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_configuration_that_does_not_fit_the_model(convert, checkpoint):
    result = convert(checkpoint, "--set", "tying_layers=3", "--output", "adapter")
    assert refused(result, "`tying_layers` = 3 exceeds the model's 3 vision and 2 text layers")


def test_models_other_than_clip_are_refused(convert, checkpoint, tmp_path):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    arguments = [checkpoint, *SET, "--output", "adapter"]
    assert refused(convert(*arguments, model=tmp_path / "bert"), "bert' cannot be adapted: .* type 'bert' is not")
    assert refused(convert(*arguments, model=tmp_path / "none"), r"Cannot read the configuration of '.*none'")


@pytest.mark.parametrize("direction", ["from official", "to official"])
def test_an_existing_output_is_kept_without_overwrite(convert, checkpoint, adapter, tmp_path, direction):
    if direction == "from official":
        arguments, output = [checkpoint, *SET], tmp_path / "output"
        output.mkdir()
        assert convert(*arguments, "--output", output)[0] == 0  # an empty folder is free
        kept = output / "adapter_model.safetensors"
        (output / "notes.txt").write_text("mine")
    else:
        arguments, output = [adapter, "--to-official"], tmp_path / "output.pth"
        kept = output
    kept.write_text("precious")
    assert refused(convert(*arguments, "--output", output), r"output(.pth)?' exists. .* `--overwrite`")
    assert kept.read_text() == "precious"
    assert convert(*arguments, "--output", output, "--overwrite")[0] == 0
    assert kept.read_bytes() != b"precious"
    assert direction == "to official" or (output / "notes.txt").read_text() == "mine"


def test_an_output_of_the_wrong_kind(convert, checkpoint, adapter, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.pth").mkdir()
    result = convert(checkpoint, *SET, "--output", "file", "--overwrite")
    assert refused(result, "'file' is a file. Choose another")
    result = convert(adapter, "--to-official", "--output", "folder.pth", "--overwrite")
    assert refused(result, "'folder.pth' is a folder. Choose another")


@pytest.mark.parametrize("direction", ["from official", "to official"])
def test_a_full_disk_leaves_nothing_behind(convert, checkpoint, adapter, tmp_path, monkeypatch, direction):
    def write_half(_: object, path: Path) -> None:
        if direction == "from official":
            path.mkdir(exist_ok=True)
            path = path / "adapter_model.safetensors"
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mv_peft.cli.convert.write_adapter", write_half)
    monkeypatch.setattr("mv_peft.cli.convert.write_official", write_half)
    before = sorted(tmp_path.rglob("*"))
    if direction == "from official":
        result = convert(checkpoint, *SET, "--output", "output")
    else:
        result = convert(adapter, "--to-official", "--output", "output.pth")
    assert refused(result, "No space left on device")
    assert sorted(tmp_path.rglob("*")) == before


def test_folders_without_an_mv_adapter_are_refused(convert, adapter, tmp_path):
    arguments = ["--to-official", "--output", "back.pth"]
    assert refused(convert(tmp_path / "clip", *arguments), r"clip' is no adapter folder: it has no adapter_config.json")
    assert refused(convert(tmp_path / "none", *arguments), r"none' is no adapter folder")
    get_peft_model(tiny_clip(), LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path / "lora")
    assert refused(convert(tmp_path / "lora", *arguments), r"lora' holds a LORA adapter. Only MV_ADAPTER")
    (adapter / "adapter_model.safetensors").write_bytes(b"hello")
    assert refused(convert(adapter, *arguments), r"Cannot read the adapter in '.*saved'")


def test_an_adapter_that_does_not_fit(convert, adapter, tmp_path):
    clip_config(text_dim=32).save_pretrained(tmp_path / "wide")
    arguments = [adapter, "--to-official", "--output", "back.pth"]
    assert refused(convert(*arguments, model=tmp_path / "wide"), r"does not fit '.*wide': \d+ tensors .*text_model")
    weights = load_file(adapter / "adapter_model.safetensors")
    weights.pop(lost := next(key for key in weights if key.endswith("up.bias")))
    save_file(weights, adapter / "adapter_model.safetensors")
    assert refused(convert(*arguments), rf"1 tensors are missing.*\({re.escape(lost)}\)")


def test_trained_modules_of_clip_are_not_dropped_silently(convert, tmp_path):
    config = MVAdapterConfig(**SETTINGS, modules_to_save=["visual_projection"])
    get_peft_model(tiny_clip(), config).save_pretrained(tmp_path / "saved")
    result = convert("saved", "--to-official", "--output", "back.pth")
    assert refused(result, "also holds CLIP's visual_projection")
