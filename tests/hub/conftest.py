"""The hub of the tests, and adapters to put on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig, PeftConfig, get_peft_model

from mv_peft.demo.pretrained import TINY_CLIP, load_tiny_clip
from mv_peft.encoders import MVProcessor, fingerprint
from mv_peft.hub import push
from tests.hub.server import TOKEN, Hub, serve
from tests.models import adapter_config

CLIP = "org/tiny-clip"  # the demo's, put on the hub of the tests
REPO = "org/adapters"
LORA = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    """A running hub that the client in this process takes for the real one, a fresh cache, and a token."""
    with serve() as running:
        client = huggingface_hub.hf_api.api
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        template = running.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(client, "endpoint", running.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("DISABLE_SAFETENSORS_CONVERSION", "true")  # a service on the real Hub
        monkeypatch.setattr("transformers.utils.hub._hf_api", None, raising=False)  # it keeps the first hub's address
        monkeypatch.setattr(push, "_PAUSE_SECONDS", 0.01)
        names = ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json")
        running.add(CLIP, {name: (TINY_CLIP / name).read_bytes() for name in (*names, "tokenizer_config.json")})
        yield running


def record(dataset: str = "msrvtt", recall: float = 46.2, **parts: object) -> dict:
    """A `metrics.json` in which everything is known."""
    return {
        "schema": 1,
        "base_model": {"name": CLIP, "architecture": "CLIPModel", "fingerprint": fingerprint(load_tiny_clip())},
        "adapter": {"method": "MV_ADAPTER", "trainable_parameters": 1234, "total_parameters": 617_217},
        "data": {"dataset": dataset, "split": "test", "videos": 1000, "captions": 1000, "synthetic": False},
        "protocol": {"name": "pairs", "ties": "strict"},
        "metrics": {"t2v R@1": recall, "t2v R@5": 72.1, "v2t R@1": 45.9, "v2t median rank": 2.0},
        "training": {"recipe": "modern", "learning_rate": 1e-4, "seed": 7, "steps": 7030, "seconds": 1234.5},
        "versions": {"mv_peft": "0.1.0", "torch": "2.13.0"},
        **parts,
    }


def adapter_folder(
    path: Path, config: PeftConfig | None = None, metrics: dict | None = None, processor: bool = True
) -> Path:
    """A run's folder with all that must not go up beside what must."""
    model = get_peft_model(load_tiny_clip(), config or adapter_config(max_frames=12, max_text_tokens=16))
    model.peft_config["default"].base_model_name_or_path = CLIP
    with torch.no_grad():  # as if it had been trained: most methods start as nothing
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    model.save_pretrained(path, save_embedding_layers=False)
    if processor:
        MVProcessor.from_pretrained(TINY_CLIP, max_text_tokens=16).save_pretrained(path)
    (path / "metrics.json").write_text(json.dumps(metrics or record()))
    (path / "training").mkdir()
    (path / "training" / "optimizer.pt").write_bytes(b"momenta")
    (path / "run.json").write_text(json.dumps({"command": f"train --output {path}", "token": TOKEN}))
    (path / "curve.png").write_bytes(b"curve")
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    return adapter_folder(tmp_path / "run")
