r"""Train and measure one method on one world or data set, and write one JSON file to `benchmarks/results`.

    python -m benchmarks.compare.run --method lora --data shapes --seed 0 --fast
    python -m benchmarks.compare.run --method mv_adapter --fast --set bottleneck_dim=16 --learning-rate 3e-3 \
        --split validation
    python -m benchmarks.compare.run --method lora --data msrvtt --model openai/clip-vit-base-patch16 \
        --root data/msrvtt

The learning rate is the one that `benchmarks.compare.tune` chose on the validation split, unless it is given. `--fast`
uses fewer clips, frames and steps; its figures are not comparable with those of the full size.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .method import load_method
from .options import add_method, add_results, add_settings, command_of, settings_of
from .settings import RESULTS, RunSettings

if TYPE_CHECKING:
    from .source import Source


def run(settings: RunSettings, *, command: str = "", source: Source | None = None) -> dict[str, Any]:
    """Train a method and measure it.

    Args:
        settings: The settings, with a learning rate unless the method trains nothing.
        command: The command to record.
        source: The CLIP and the clips; None for those of the settings.

    Returns:
        `run_info`, `config`, `train_info` and `metrics`, in types that JSON has.
    """
    import torch

    from .build import build
    from .costs import saved_bytes

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    method = load_method(settings.method, tiny=settings.has_tiny_clip)
    source = settings.open() if source is None else source
    clip, processor = source.load_clip()
    num_clip_parameters = sum(parameter.numel() for parameter in clip.parameters())
    model = build(clip, processor, method, settings)
    config = {"label": method.label, "recipe": method.recipe, "peft": _peft_config(model)}
    if torch.cuda.is_available():
        model.cuda()
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    train_info: dict[str, Any] = {"steps": 0, "seconds": 0.0, "cpu_seconds": 0.0, "peak_memory_mib": None, "curve": []}
    if trainable:
        model, train_info = source.train(model, processor, method)
    train_info |= {
        "trainable_parameters": trainable,
        "clip_parameters": num_clip_parameters,
        "total_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "adapter_bytes": saved_bytes(model) if trainable else 0,
    }
    result = {
        "run_info": _run_info(command),
        "config": {**source.config(), **config},
        "train_info": train_info,
        "metrics": source.measure(model, processor),
    }
    return json.loads(json.dumps(result))


def resolve(settings: RunSettings, results: Path = RESULTS) -> RunSettings:
    """The settings with the tuned learning rate, unless one is given or the method trains nothing.

    Raises:
        ValueError: If no learning rate was tuned, or if one is given although the method trains nothing.
    """
    trains = load_method(settings.method, tiny=settings.has_tiny_clip).trains
    if settings.learning_rate is not None and not trains:
        raise ValueError(f"'{settings.method}' trains nothing, got the learning rate {settings.learning_rate:g}.")
    if settings.learning_rate is not None or not trains:
        return settings
    tuned = tuned_settings(settings)
    file = tuned.tuning_file(results)
    if not file.exists():
        raise ValueError(
            f"No learning rate was chosen for '{tuned.name}' on {tuned.group}. "
            "Choose one with `python -m benchmarks.compare.tune`, or give `--learning-rate`."
        )
    return replace(settings, learning_rate=json.loads(file.read_text(encoding="utf-8"))["chosen"])


def tuned_settings(settings: RunSettings) -> RunSettings:
    """The settings whose tuned learning rate is used: these, or those of the method named by `learning_rate_of`."""
    other = load_method(settings.method, tiny=settings.has_tiny_clip).learning_rate_of
    return settings if other is None else replace(settings, method=other, overrides={})


def write_result(result: dict[str, Any], file: Path) -> None:
    """Write a JSON file; its folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _peft_config(model: Any) -> dict[str, Any] | None:
    """The resolved configuration as it would be saved, without the name of the folder of the CLIP."""
    if not hasattr(model, "peft_config"):
        return None
    fields: dict[str, Any] = _plain(model.peft_config["default"].to_dict())
    return {name: value for name, value in fields.items() if name != "base_model_name_or_path"}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _run_info(command: str) -> dict[str, Any]:
    import numpy
    import peft
    import torch
    import transformers

    import mv_peft

    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() if _has_git() else ""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {
        "command": command,
        "commit": commit or None,
        "device": device,
        "threads": torch.get_num_threads(),
        "versions": {
            "mv_peft": mv_peft.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
    }


def _has_git() -> bool:
    from shutil import which

    return which("git") is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_method(parser)
    add_settings(parser)
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="seed of weights and batches (default: 0)")
    parser.add_argument(
        "--split", choices=("validation", "test"), default="test", help="split to measure (default: test)"
    )
    parser.add_argument("--learning-rate", type=float, metavar="X", help="highest one (default: the tuned one)")
    add_results(parser)
    args = parser.parse_args()
    settings = settings_of(
        args,
        method=args.method,
        seed=args.seed,
        split=args.split,
        learning_rate=args.learning_rate,
        overrides=dict(args.set),
    )
    command = command_of(settings, learning_rate=args.learning_rate)
    settings = resolve(settings, args.results)
    result = run(settings, command=command)
    file = settings.result_file(args.results)
    write_result(result, file)
    print(file)
    for gallery, figures in result["metrics"].items():
        shown = {name: figure for name, figure in figures.items() if name.endswith(("R@1", "accuracy", "ceiling"))}
        print(f"  {gallery:8}", "  ".join(f"{name} {figure:.1f}" for name, figure in shown.items()))


if __name__ == "__main__":
    main()
