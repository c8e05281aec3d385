"""The work of `mv-peft train`: it turns the options into a `TrainingRun`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, get_peft_model
from transformers import PreTrainedModel, set_seed
from transformers.integrations import get_available_reporting_integrations

from ..data import BENCHMARKS, CaptionedVideos
from ..data.custom import CUSTOM
from ..encoders import MVProcessor, enable_video, load_base_model
from ..encoders.families import DualEncoder
from ..errors import VideoDecodeError
from ..runs.facts import base_facts
from ..training import RunFacts, TrainingRun, TrainSettings
from ..tuners import method_config
from ..tuners.mv_adapter.presets import PRESETS
from .adapter_config import given_fields, mv_adapter_config
from .settings_options import given_settings
from .splits import frame_reader, load_split, load_splits
from .train_report import describe_outcome, describe_plan


def run(args: argparse.Namespace) -> int:
    """Print what will be trained, train it, and print what came out."""
    is_main = int(os.environ.get("RANK", "0")) == 0
    _show_log(is_main)
    settings = _settings(args)
    with _no_folder_left(settings.checkpoints) if args.dry_run else contextlib.nullcontext():
        training = _prepare(args, settings)
    if is_main:
        print(describe_plan(training), flush=True)  # now, to a file as well
    if args.dry_run:
        return 0
    try:
        outcome = training.execute()
    except VideoDecodeError:
        hint = "No video was skipped. `mv-peft data check` finds every such video, `--skip-videos` leaves them out."
        print(f"mv-peft: {hint}", file=sys.stderr)
        raise
    if is_main:
        print(describe_outcome(training, outcome, args.model))
    return 0


@contextlib.contextmanager
def _no_folder_left(checkpoints: Path) -> Iterator[None]:
    """Remove the folder of checkpoints, which Trainer creates as soon as it exists, and the parents created with it."""
    missing = [folder for folder in (checkpoints, *checkpoints.parents) if not folder.exists()]
    try:
        yield
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):  # not created, or another process was faster
                folder.rmdir()


def _settings(args: argparse.Namespace) -> TrainSettings:
    given = given_settings(args, TrainSettings)
    if "epochs" in given and "max_steps" in given:
        args.refuse("`--epochs` has no effect with `--max-steps`. Leave one of them out.")
    if args.method.startswith("full") and "learning_rate" not in given:
        args.refuse(
            f"The recipes' learning rates are for adapters, and '{args.method}' trains CLIP itself. "
            "Give a `--learning-rate`, such as 1e-6."
        )
    available = sorted(get_available_reporting_integrations()) if "report_to" in given else []
    for name in given.get("report_to", ()):
        if name not in available:
            installed = ", ".join(available) or "none"
            args.refuse(f"`--report-to` names '{name}', which is not installed. Installed: {installed}.")
    benchmark = BENCHMARKS.get(args.dataset)
    published = {} if benchmark is None else {"epochs": benchmark.epochs, "batch_size": benchmark.batch_size}
    try:
        return TrainSettings(**{**published, **given})
    except ValueError as error:
        args.refuse(str(error))
        raise


def _prepare(args: argparse.Namespace, settings: TrainSettings) -> TrainingRun:
    train, validation = _videos(args)
    clip = load_base_model(args.model, dtype=torch.float32)
    facts = _facts(args, clip, train, validation)
    set_seed(settings.seed)
    config, max_frames, max_text_tokens = _method(args, clip)
    processor = MVProcessor.from_pretrained(
        args.model,
        max_frames=max_frames,
        max_text_tokens=max_text_tokens,
        frame_sampling=settings.frame_sampling,
    )
    return TrainingRun(
        _adapted(clip, config),
        processor,
        train,
        validation,
        settings,
        facts,
        read=frame_reader(args, [*train, *validation]),
        resume=args.resume,
    )


def _videos(args: argparse.Namespace) -> tuple[CaptionedVideos, CaptionedVideos]:
    if not args.select_on_test:
        fraction = 0.05 if args.validation_fraction is None else args.validation_fraction
        return load_split(args, "train").carve_validation(fraction)
    if args.dataset == CUSTOM:
        args.refuse("`--select-on-test` needs a test split, which `--dataset custom` does not have. Leave it out.")
    if args.validation_fraction is not None:
        args.refuse("`--validation-fraction` has no effect with `--select-on-test`. Leave one of them out.")
    return load_splits(args, "train", "test")


def _method(args: argparse.Namespace, clip: PreTrainedModel) -> tuple[PeftConfig | None, int, int]:
    """Return the method's configuration, and the most frames and tokens."""
    benchmark = BENCHMARKS.get(args.dataset)
    limits = {"max_frames": 12, "max_text_tokens": 32}
    if benchmark is not None:
        limits = {name: getattr(benchmark, name) for name in limits}
    given = {name: getattr(args, name) for name in limits if getattr(args, name) is not None}
    config: Any
    if args.method == "mv_adapter":
        if args.preset is None and args.dataset not in PRESETS:
            given = {name: limit for name, limit in limits.items() if name not in dict(args.settings)} | given
        args.settings = [*args.settings, *given.items()]
        config = mv_adapter_config(args, args.dataset if args.dataset in PRESETS else None)
        limits = {name: getattr(config, name) for name in limits}
    else:
        if args.preset:
            args.refuse(f"`--preset` is for mv_adapter, got the method '{args.method}'. Leave it out.")
        try:
            config = method_config(clip, args.method, **given_fields(args))
        except TypeError as error:  # a field that the configuration does not have
            args.refuse(f"'{args.method}' cannot be set up so: {error}. Correct `--set`.")
        limits |= given
    most = DualEncoder.of(clip).max_text_tokens(clip.config.text_config)
    if limits["max_text_tokens"] > most:
        args.refuse(
            f"'{args.model}' takes captions of at most {most} tokens, got {limits['max_text_tokens']}. "
            f"Give `--max-text-tokens {most}`."
        )
    return config, limits["max_frames"], limits["max_text_tokens"]


def _adapted(clip: PreTrainedModel, config: PeftConfig | None) -> Any:
    if config is None:
        raise ValueError("'zero-shot' trains nothing. Choose another method, or measure it with `mv-peft evaluate`.")
    return enable_video(get_peft_model(clip, config))


def _facts(
    args: argparse.Namespace, clip: PreTrainedModel, train: CaptionedVideos, validation: CaptionedVideos
) -> RunFacts:
    return RunFacts(
        dataset=args.dataset,
        method=args.method,
        base_model=base_facts(clip, args.model),
        train=f"{train.name}: {len(train):,} videos, {train.num_captions:,} captions",
        validation=f"{validation.name}: {len(validation):,} videos, {validation.num_captions:,} captions",
        selected_on="test" if args.select_on_test else "validation",
        command=args.command_line,
        synthetic=args.synthetic,
    )


def _show_log(is_main: bool) -> None:
    """Print our log on stderr, without decoration; of the other processes only errors."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("mv_peft")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO if is_main else logging.ERROR)
