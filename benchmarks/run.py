r"""One method on one world, trained and measured: one JSON in `benchmarks/results`.

    python -m benchmarks.run --method lora --data shapes --seed 0 --fast
    python -m benchmarks.run --method mv_adapter_large --fast --set bottleneck_dim=16 --learning-rate 3e-3 \
        --split validation

The learning rate is the one that `benchmarks.tune` chose on the validation split, unless it is given. `--fast` is the
same with fewer clips, frames and steps; its figures are not comparable with those of the full size.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .data import DATA
from .method import load_method, method_names
from .settings import RESULTS, SIZES, RunSettings


def run(settings: RunSettings, *, command: str = "", clip_steps: int | None = None, cache: Path | None = None) -> dict:
    """Trains and measures.

    Args:
        settings: What to do; its learning rate is given unless nothing is trained.
        command: What to write down as the command.
        clip_steps: Steps of the training of the world's CLIP, for tests.
        cache: Folder of such CLIPs, for tests.

    Returns:
        `run_info`, `config`, `train_info` and `metrics`, in types that JSON has.
    """
    import torch

    from .clip import load_clip
    from .data import draw, events
    from .measure import caption_groups, gallery_metrics, order_metrics
    from .training import build, saved_bytes, similarity, train

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    method = load_method(settings.method)
    given = {name: value for name, value in (("steps", clip_steps), ("cache", cache)) if value is not None}
    clip, processor = load_clip(settings.data, **given)
    num_clip_parameters = sum(parameter.numel() for parameter in clip.parameters())
    model = build(clip, processor, method, settings)
    if torch.cuda.is_available():
        model.cuda()
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    train_info: dict[str, Any] = {"steps": 0, "seconds": 0.0, "cpu_seconds": 0.0, "peak_memory_mib": None, "curve": []}
    if trainable:
        train_info = train(model, processor, method, settings)
    train_info |= {
        "trainable_parameters": trainable,
        "clip_parameters": num_clip_parameters,
        "total_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "adapter_bytes": saved_bytes(model) if trainable else 0,
    }
    metrics: dict[str, dict[str, float]] = {}
    for gallery in ("natural", "twin"):
        clips = draw(
            settings.data,
            settings.split,
            settings.num_gallery_clips,
            paired=gallery == "twin",
            num_frames=settings.num_frames,
            seed=settings.data_seed,
        )
        captions, _ = caption_groups(clips.captions)
        cosines = similarity(model, processor, clips, captions)
        metrics[gallery] = gallery_metrics(cosines, clips)
        if gallery == "twin":
            metrics["order"] = order_metrics(cosines, clips, events(settings.data))
    config = {
        **asdict(settings),
        "label": method.label,
        "recipe": method.recipe,
        "peft": _peft_config(model),
    }
    return json.loads(
        json.dumps({"run_info": _run_info(command), "config": config, "train_info": train_info, "metrics": metrics})
    )


def resolve(settings: RunSettings, results: Path = RESULTS) -> RunSettings:
    """The settings with the tuned learning rate, where none is given and something is trained.

    Raises:
        ValueError: If nothing was tuned, or a learning rate is given where nothing is trained.
    """
    trains = load_method(settings.method).trains
    if settings.learning_rate is not None and not trains:
        raise ValueError(f"'{settings.method}' trains nothing, got the learning rate {settings.learning_rate:g}.")
    if settings.learning_rate is not None or not trains:
        return settings
    tuned = tuned_settings(settings)
    file = tuned.tuning_file(results)
    if not file.exists():
        raise ValueError(
            f"No learning rate was chosen for '{tuned.name}' on {tuned.group}. "
            "Choose one with `python -m benchmarks.tune`, or give `--learning-rate`."
        )
    return replace(settings, learning_rate=json.loads(file.read_text(encoding="utf-8"))["chosen"])


def tuned_settings(settings: RunSettings) -> RunSettings:
    """Whose choice of the learning rate counts: the settings themselves, or those of the method whose rate it takes."""
    other = load_method(settings.method).learning_rate_of
    return settings if other is None else replace(settings, method=other, overrides={})


def write_result(result: dict[str, Any], file: Path) -> None:
    """Writes a JSON file, making its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _peft_config(model: Any) -> dict[str, Any] | None:
    """The method's resolved configuration, as it would be saved, without the folder that the CLIP was loaded from."""
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


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The arguments that `run`, `tune` and `suite` share."""
    parser.add_argument("--data", choices=DATA, default="shapes")
    parser.add_argument("--fast", action="store_true", help="fewer clips, frames and steps: minutes instead of hours")
    parser.add_argument("--batches", choices=("paired", "random"), default="paired")
    for name in SIZES["full"]:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=0, metavar="N")


def settings_of(args: argparse.Namespace, **more: Any) -> RunSettings:
    """The settings of the shared arguments, and more."""
    sizes = {name: getattr(args, name) for name in SIZES["full"]}
    size = "fast" if args.fast else "full"
    return RunSettings(data=args.data, size=size, batches=args.batches, **sizes, **more)


def field_and_value(text: str) -> tuple[str, Any]:
    """`field=value` of `--set`; the value is JSON, or else a word.

    Raises:
        ValueError: If there is no "=".
    """
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"`--set` takes field=value, got {text!r}.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=method_names(), required=True)
    add_settings(parser)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", type=field_and_value)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    settings = settings_of(
        args,
        method=args.method,
        seed=args.seed,
        split=args.split,
        learning_rate=args.learning_rate,
        overrides=dict(args.set),
    )
    settings = resolve(settings, args.results)
    result = run(settings, command=f"python -m benchmarks.run {' '.join(sys.argv[1:])}")
    file = settings.result_file(args.results)
    write_result(result, file)
    print(file)
    for gallery, figures in result["metrics"].items():
        shown = {name: figure for name, figure in figures.items() if name.endswith(("R@1", "accuracy", "ceiling"))}
        print(f"  {gallery:8}", "  ".join(f"{name} {figure:.1f}" for name, figure in shown.items()))


if __name__ == "__main__":
    main()
