"""What goes up, what does not, and what is left when it fails."""

from __future__ import annotations

import json
import os
import traceback
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from peft import get_peft_model

from mv_peft import MVAdapterConfig
from mv_peft.demo.pretrained import load_tiny_clip, load_tiny_processor
from mv_peft.encoders import fingerprint
from mv_peft.errors import CheckpointError, HubError
from mv_peft.hub import list_adapters, pull_adapter, push_adapter
from mv_peft.hub.folder import sha256
from mv_peft.runs.metrics_file import MetricsFile
from tests.hub.conftest import CLIP, LORA, REPO, adapter_folder, record
from tests.hub.server import TOKEN
from tests.models import adapter_config
from tests.runs.test_metrics_file import filled

GOES_UP = {
    "adapter_config.json",
    "adapter_model.safetensors",
    "metrics.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


def test_an_adapter_and_nothing_else_goes_up_in_one_commit(hub, folder):
    commit = push_adapter(folder, REPO, subfolder="msrvtt")
    files = hub.files(REPO)
    assert set(files) == {".gitattributes", "README.md", *(f"msrvtt/{name}" for name in GOES_UP)}
    assert files["msrvtt/adapter_model.safetensors"] == (folder / "adapter_model.safetensors").read_bytes()
    assert files["msrvtt/tokenizer.json"] == (folder / "tokenizer.json").read_bytes()
    assert commit.oid == hub.repos[REPO].branches["main"]
    assert len(hub.repos[REPO].commits) == 2  # the first is the Hub's own
    everything = b"".join(files.values())
    assert TOKEN.encode() not in everything
    assert str(folder.parent).encode() not in everything


def test_the_second_adapter_leaves_the_first_and_its_section(hub, folder, tmp_path):
    push_adapter(folder, REPO, subfolder="msrvtt")
    first = hub.files(REPO)
    push_adapter(adapter_folder(tmp_path / "2", LORA, record("msvd", 40.5)), REPO, subfolder="msvd-lora")
    files = hub.files(REPO)
    assert {path: files[path] for path in first if path != "README.md"} == {
        path: content for path, content in first.items() if path != "README.md"
    }
    card = ModelCard(files["README.md"].decode())
    assert "## msrvtt\n" in card.text
    assert "## msvd-lora\n" in card.text
    values = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert values["t2v R@1 (msrvtt)"] == 46.2
    assert values["t2v R@1 (msvd-lora)"] == 40.5
    assert [adapter.subfolder for adapter in list_adapters(REPO)] == ["msrvtt", "msvd-lora"]


def test_pushed_twice_makes_no_second_commit(hub, folder):
    first = push_adapter(folder, REPO)
    assert push_adapter(folder, REPO).oid == first.oid


def test_files_that_an_adapter_no_longer_has_go(hub, folder):
    push_adapter(folder, REPO, subfolder="a")
    hub.add(REPO, {"a/vocab.json": b"{}", "a/notes.txt": b"mine", "vocab.json": b"{}"})
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    push_adapter(folder, REPO, subfolder="a")
    left = {path for path in hub.files(REPO) if path.startswith("a/")}
    assert left == {"a/adapter_config.json", "a/adapter_model.safetensors", "a/metrics.json", "a/notes.txt"}
    assert "vocab.json" in hub.files(REPO)  # not this adapter's


def test_a_model_goes_up_with_its_fingerprint(hub):
    model = get_peft_model(load_tiny_clip(), adapter_config())
    model.add_adapter("other", adapter_config(bottleneck_dim=4, max_text_tokens=7))
    model.peft_config["other"].base_model_name_or_path = CLIP
    push_adapter(model, REPO, adapter_name="other", processor=load_tiny_processor(), metrics={"metrics": {"x": 1.5}})
    files = hub.files(REPO)
    noted = json.loads(files["metrics.json"])
    assert noted["base_model"]["fingerprint"] == fingerprint(load_tiny_clip())
    assert noted["base_model"]["name"] == CLIP
    assert noted["metrics"] == {"x": 1.5}
    assert json.loads(files["adapter_config.json"])["max_text_tokens"] == 7
    assert "processor_config.json" in files


def test_arguments_without_effect_are_refused(hub, folder):
    with pytest.raises(ValueError, match="`metrics` belongs to a PeftModel"):
        push_adapter(folder, REPO, metrics={})
    model = get_peft_model(load_tiny_clip(), adapter_config())
    with pytest.raises(ValueError, match="no adapter 'x'. Choose from: default"):
        push_adapter(model, REPO, adapter_name="x")
    assert not any(line.startswith("POST") for line in hub.log)


@pytest.mark.parametrize("subfolder", ["../up", "a/../b", "/abs", "a//b", "", ".git", "a\\b", "*", "a b", "a/"])
def test_subfolders_stay_inside(hub, folder, subfolder):
    with pytest.raises(ValueError, match="`subfolder` must be names"):
        push_adapter(folder, REPO, subfolder=subfolder)


@pytest.mark.parametrize("repo_id", ["a/b/c", "", "../x", "org/na me", "org/a..b"])
def test_names_of_repositories_are_names(hub, folder, repo_id):
    with pytest.raises(ValueError, match="A repository is named as"):
        push_adapter(folder, repo_id)


def test_a_local_base_model_is_left_out_unless_it_has_a_name(hub, folder):
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(folder)}))
    push_adapter(folder, REPO)  # metrics.json has a name
    assert json.loads(hub.files(REPO)["adapter_config.json"])["base_model_name_or_path"] == CLIP
    (folder / "metrics.json").unlink()
    with pytest.warns(UserWarning, match=f"The base model is known as '{folder}' only"):
        push_adapter(folder, REPO)
    assert json.loads(hub.files(REPO)["adapter_config.json"])["base_model_name_or_path"] is None
    assert str(folder) not in hub.files(REPO)["README.md"].decode()
    push_adapter(folder, REPO, base_model="openai/clip")
    assert json.loads(hub.files(REPO)["adapter_config.json"])["base_model_name_or_path"] == "openai/clip"


def test_a_folders_name_is_not_taken_for_a_repositorys(hub, folder):
    """Which anybody could own: `mv-peft train` notes the bare name of a local CLIP."""
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "/models/clip"}))
    (folder / "metrics.json").write_text(json.dumps(record(base_model={"name": "clip"})))
    with pytest.warns(UserWarning, match="The base model is known as '/models/clip' only"):
        push_adapter(folder, REPO)
    assert json.loads(hub.files(REPO)["metrics.json"]).get("base_model") is None
    assert json.loads(hub.files(REPO)["adapter_config.json"])["base_model_name_or_path"] is None


@pytest.mark.parametrize(
    ("name", "key", "value", "what"),
    [
        ("adapter_config.json", "exclude_modules", ["/home/me/secret/x"], "the local path '/home/me/secret/x'"),
        ("processor_config.json", "cache", {"dir": "~/cache/x"}, "the local path '~/cache/x'"),
        ("tokenizer_config.json", "auth", f"Bearer {TOKEN}", "a token"),
        ("adapter_config.json", "exclude_modules", "C:\\Users\\me", r"the local path 'C:\\Users\\me'"),
    ],
)
def test_private_settings_are_refused_before_anything_is_sent(hub, folder, name, key, value, what):
    settings = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**settings, key: value}))
    with pytest.raises(CheckpointError, match=f"in {name} holds {what.replace('~', '.')}") as caught:
        push_adapter(folder, REPO)
    assert TOKEN not in str(caught.value)
    assert REPO not in hub.repos


def test_every_field_of_the_metrics_comes_back(hub, folder, tmp_path):
    """Written, pushed, pulled and read; what a newer version has written as well."""
    written = filled()
    written = replace(written, base_model=replace(written.base_model, name=CLIP))
    written.write(folder)
    push_adapter(folder, REPO, subfolder="a")
    read = MetricsFile.read(pull_adapter(REPO, tmp_path / "pulled", subfolder="a"))
    weights = folder / "adapter_model.safetensors"
    of_the_file = {"method": "MV_ADAPTER", "bytes": weights.stat().st_size, "sha256": sha256(weights)}
    assert read == replace(written, adapter=replace(written.adapter, **of_the_file))
    (listed,) = list_adapters(REPO)
    assert listed.metrics_file == read
    card = hub.files(REPO)["README.md"].decode()
    assert "weight decay" in card
    assert "newer" not in card


@pytest.mark.parametrize(
    ("unknown", "key", "what"),
    [
        ({"host": "gpu7", "paths": ["/data/msrvtt"]}, "paths", "the local path '/data/msrvtt'"),
        ({"training": {"log": {"file": "~/runs/log"}}}, "training.log.file", "the local path '~/runs/log'"),
        ({"videos": {"/data/msrvtt/1.mp4": 3}}, "videos", "the local path '/data/msrvtt/1.mp4'"),
        ({"auth": {"x": f"Bearer {TOKEN}"}}, "auth.x", "a token"),
        ({"data": {"dataset": "/data/msrvtt"}}, "data.dataset", "the local path '/data/msrvtt'"),
    ],
)
def test_unknown_fields_of_the_metrics_hold_nothing_private(hub, folder, unknown, key, what):
    (folder / "metrics.json").write_text(json.dumps(record(**unknown)))
    with pytest.raises(CheckpointError, match=f"`{key}` in metrics.json holds {what}, which is not for others"):
        push_adapter(folder, REPO)
    assert REPO not in hub.repos


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "adapter_model.safetensors").unlink(), "no adapter_model.safetensors.*pickle"),
        (lambda f: (f / "adapter_config.json").unlink(), "it has no adapter_config.json"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"x" * 100), "is cut off or damaged"),
        (lambda f: os.truncate(f / "adapter_model.safetensors", 50_000), "is cut off or damaged"),
        (lambda f: (f / "adapter_config.json").write_text("[1]"), "holds no JSON object but list"),
        (lambda f: (f / "metrics.json").write_text("{"), "'metrics.json' is not JSON"),
        (lambda f: (f / "metrics.json").write_text('{"schema": 2}'), "has schema 2, known is 1"),
        (lambda f: (f / "metrics.json").write_text('{"schema": 1, "metrics": {"t2v R@1": NaN}}'), "a finite number"),
        (
            lambda f: (f / "metrics.json").write_text('{"schema": 1, "data": {"videos": "9"}}'),
            "`data.videos` .* integer",
        ),
    ],
)
def test_what_is_no_whole_adapter_is_refused_before_anything_is_sent(hub, folder, change, message):
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        push_adapter(folder, REPO)
    assert REPO not in hub.repos


def test_private_repositories_and_branches(hub, folder):
    push_adapter(folder, REPO, private=True)
    assert hub.repos[REPO].private
    push_adapter(folder, REPO, revision="v2", subfolder="x")
    assert "x/metrics.json" in hub.files(REPO, "v2")
    assert "x/metrics.json" not in hub.files(REPO)
    assert "metrics.json" in hub.files(REPO, "v2")
    with pytest.raises(ValueError, match="exists and is private. Make it public"):
        push_adapter(folder, REPO, private=False)


def test_somebody_elses_commit_in_between_is_kept(hub, folder, tmp_path):
    push_adapter(folder, REPO, subfolder="a")
    other = adapter_folder(tmp_path / "b", metrics=record("lsmdc"))
    theirs = {f"b/{path.name}": path.read_bytes() for path in other.iterdir() if path.name in GOES_UP}
    hub.fail("POST .*/preupload/", 200, effect=lambda: hub.add(REPO, theirs))
    hub.faults[-1].status = 503  # asked again by the client, on a repository that has changed
    push_adapter(adapter_folder(tmp_path / "c", metrics=record("didemo")), REPO, subfolder="c")
    assert hub.count(r"POST .*/commit/main 412") == 1
    card = hub.files(REPO)["README.md"].decode()
    assert all(f"## {name}\n" in card for name in "abc")


@pytest.mark.parametrize("status", [409, 412, 429, 500, 503, None])
def test_a_commit_that_fails_once_is_tried_again(hub, folder, status):
    hub.fail("POST .*/commit/main", status)
    push_adapter(folder, REPO)
    assert "metrics.json" in hub.files(REPO)
    assert len(hub.repos[REPO].commits) == 2


def test_a_commit_whose_answer_is_lost_is_not_made_twice(hub, folder):
    hub.fail("POST .*/commit/main", None, applies=True)
    commit = push_adapter(folder, REPO)
    assert len(hub.repos[REPO].commits) == 2
    assert commit.oid == hub.repos[REPO].branches["main"]


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ("POST .*/commit/main", 401, r"does not accept the token, or wants one \(401\).*hf auth login"),
        ("POST .*/commit/main", 403, r"may not do this \(403\)"),
        ("POST .*/commit/main", 404, r"404"),
        ("POST .*/commit/main", 409, r"at the same time \(409\)"),
        ("POST .*/commit/main", 429, r"fewer requests \(429\)"),
        ("POST .*/commit/main", 500, r"the Hub answers 500: the test asked for 500"),
        ("POST .*/commit/main", None, r"the connection broke"),
        ("POST .*/preupload/", 403, r"may not do this \(403\)"),
        ("POST .*/objects/batch", 403, r"may not do this \(403\)"),
        ("PUT /lfs-storage/", 400, r"the Hub answers 400"),
        ("POST /lfs-verify", 404, r"404"),
        ("GET /api/models/org/adapters/tree", 403, r"\(403\)"),
    ],
)
def test_an_upload_that_fails_leaves_the_repository_as_it_was(hub, folder, tmp_path, request_, status, message):
    push_adapter(folder, REPO)
    before, commits = hub.files(REPO), len(hub.repos[REPO].commits)
    hub.lfs.clear()
    hub.fail(request_, status, times=100)
    with pytest.raises(HubError, match=f"Cannot push to '{REPO}': .*{message}") as caught:
        push_adapter(adapter_folder(tmp_path / "2", metrics=record("msvd")), REPO, subfolder="msvd")
    assert hub.files(REPO) == before
    assert len(hub.repos[REPO].commits) == commits
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_an_upload_that_is_cut_at_half_goes_through_at_the_second_try(hub, folder):
    hub.fail("PUT /lfs-storage/", None)
    push_adapter(folder, REPO)
    assert hub.count("PUT .* cut") == 1
    assert hub.files(REPO)["adapter_model.safetensors"] == (folder / "adapter_model.safetensors").read_bytes()


def test_without_a_token_or_with_a_wrong_one(hub, folder):
    wrong = "hf_" + 20 * "Wrong"
    with pytest.raises(HubError, match=r"Cannot push to 'org/adapters': .*\(401\).*hf auth login") as caught:
        push_adapter(folder, REPO, token=wrong)
    assert wrong not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(HubError, match=r"\(401\)"):
        push_adapter(folder, REPO, token=False)
    assert REPO not in hub.repos


def test_offline(hub, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="Cannot push to 'org/adapters': HF_HUB_OFFLINE is set"):
        push_adapter(folder, REPO)
    with pytest.raises(HubError, match="Cannot list the adapters of 'org/adapters': HF_HUB_OFFLINE is set"):
        list_adapters(REPO)
    assert hub.log == []


def test_a_damaged_neighbour_is_in_nobodys_way(hub, folder):
    hub.add(REPO, {"bad/adapter_config.json": b"{", "big/adapter_config.json": b" " * 2_000_000, "c/metrics.json": b""})
    hub.add(REPO, {'x", token="y/adapter_config.json': b"{}", "a b/adapter_config.json": b"{}"})  # no names of ours
    push_adapter(folder, REPO, subfolder="good")
    assert 'token="y' not in hub.files(REPO)["README.md"].decode()
    found = {adapter.subfolder: adapter for adapter in list_adapters(REPO)}
    assert set(found) == {"bad", "big", "good"}
    assert found["good"].base_model == CLIP
    assert found["bad"].num_bytes is None


def test_the_settings_of_another_method_go_up_unchanged(hub, tmp_path):
    folder = adapter_folder(tmp_path / "lora", LORA)
    push_adapter(folder, REPO)
    before, after = json.loads((folder / "adapter_config.json").read_text()), hub.files(REPO)["adapter_config.json"]
    assert json.loads(after) == before
    assert before["peft_type"] == "LORA"


def test_presets_share_a_repository(hub, tmp_path):
    """The five published settings, as the issue has them, in one repository."""
    from mv_peft.tuners.mv_adapter.presets import PRESETS

    for name in PRESETS:
        config = MVAdapterConfig.from_preset(name, bottleneck_dim=4, max_text_tokens=16, tying_layers=1)
        push_adapter(adapter_folder(tmp_path / name, config, record(name)), REPO, subfolder=name)
    assert [adapter.subfolder for adapter in list_adapters(REPO)] == sorted(PRESETS)
    card = ModelCard(hub.files(REPO)["README.md"].decode())
    assert {result.dataset_type for result in card.data.eval_results} == set(PRESETS)
