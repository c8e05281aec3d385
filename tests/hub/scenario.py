"""A user's whole round over the command line, on whatever Hub HF_ENDPOINT and HF_TOKEN lead to.

python -m tests.hub.scenario push NAMESPACE FOLDER    # makes two repositories under the namespace, prints the list
python -m tests.hub.scenario use NAMESPACE FOLDER     # runs the card's own Python, in FOLDER; offline, too
python -m tests.hub.scenario delete NAMESPACE FOLDER
"""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, is_offline_mode
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import CLIPModel

import mv_peft
from mv_peft.cli.main import main
from mv_peft.demo.pretrained import TINY_CLIP, load_tiny_clip, load_tiny_processor
from mv_peft.video.writer import write_video

ADAPTERS = {
    "ours": mv_peft.MVAdapterConfig(bottleneck_dim=8, max_text_tokens=16, init_weights=False),
    "sets/lora": LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False),
}


def push(clip: str, repo: str, folder: Path) -> None:
    """A base model, and an adapter of two methods over it."""
    api = HfApi()
    api.create_repo(clip, private=True)
    names = ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json")
    files = [CommitOperationAdd(name, TINY_CLIP / name) for name in names]
    api.create_commit(clip, files, commit_message="tiny CLIP")
    for place, config in ADAPTERS.items():
        model = get_peft_model(load_tiny_clip(), config)
        model.save_pretrained(folder / place)
        load_tiny_processor().save_pretrained(folder / place)
        arguments = ["--repo", repo, "--subfolder", place, "--base-model", clip, "--private"]
        assert main(["push", str(folder / place), *arguments]) == 0
    assert main(["list", repo]) == 0


def use(clip: str, repo: str, folder: Path) -> None:
    """What the card says is what happens."""
    card = Path(hf_hub_download(repo, "README.md")).read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert len(snippets) == len(ADAPTERS), card
    frames = np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), dtype=np.uint8)
    write_video("video.mp4", frames)
    for place, snippet in zip(ADAPTERS, snippets, strict=True):
        names: dict[str, object] = {}
        exec(compile(snippet, "README.md", "exec"), names)
        with names["model"].disable_adapter():
            assert not torch.equal(names["model"](**names["batch"]).logits_per_text, names["similarity"])
        model = names["model"]
        if not is_offline_mode():  # where PEFT 0.21 looks for a subfolder's weights in the subfolder of the subfolder
            model = PeftModel.from_pretrained(CLIPModel.from_pretrained(clip), repo, subfolder=place)
        state = {key.replace(".default", ""): value for key, value in model.state_dict().items()}
        saved = load_file(folder / place / "adapter_model.safetensors")
        assert all(torch.equal(state[key], value) for key, value in saved.items())
        sys.stdout.write(f"{place}: {tuple(names['similarity'].shape)}\n")


def delete(clip: str, repo: str, folder: Path) -> None:
    for name in (clip, repo):
        HfApi().delete_repo(name, missing_ok=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    step, namespace, where = sys.argv[1:]
    {"push": push, "use": use, "delete": delete}[step](
        f"{namespace}/mv-peft-test-clip", f"{namespace}/mv-peft-test-adapters", Path(where)
    )
