"""Trains a method on captioned videos, chooses the best adapter on a validation split, and writes it down.

The validation split is carved out of the training videos by their ids. On several GPUs or machines: `torchrun
--nproc-per-node 8 -m mv_peft train ...`, the batch being shared by all processes. An interrupted training goes on with
`--resume`, to the same adapter to the bit.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.custom import CUSTOM
from ..errors import VideoDecodeError
from .config_options import add_config_options, given_fields, mv_adapter_config
from .data_options import add_data_options, check_data_options, frame_reader, load_split, load_splits

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel

    from ..data import CaptionedVideos
    from ..training.run import TrainingRun, TrainOutcome
    from ..training.run_file import RunFacts
    from ..training.settings import TrainSettings

HELP = "train an adapter on captioned videos"
EXAMPLES = """examples:
  mv-peft train --model openai/clip-vit-base-patch16 --dataset msrvtt --root data/msrvtt --output runs/msrvtt
  mv-peft train --model openai/clip-vit-base-patch32 --dataset custom --root holiday.csv --output runs/holiday \\
      --batch-size 32 --epochs 10 --learning-rate 3e-4 --precision bf16
  mv-peft train ... --output runs/msrvtt --dry-run      # what would be trained, steps, memory; trains nothing
  mv-peft train ... --output runs/msrvtt --resume       # goes on after an interruption
  torchrun --nproc-per-node 8 -m mv_peft train ...      # on eight GPUs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every option; those that are not given follow from data set and recipe."""
    parser.add_argument("--model", required=True, metavar="NAME_OR_DIR", help="the CLIP")
    add_data_options(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="for the adapter and all about it")
    method = parser.add_argument_group("what is trained")
    method.add_argument("--method", default="mv_adapter", metavar="NAME", help="(default: mv_adapter)")
    add_config_options(parser, "published setting of MV-Adapter (default: the data set's, if it has one)")
    method.add_argument("--max-frames", type=int, metavar="N", help="of a video (default: the data set's)")
    method.add_argument("--max-text-tokens", type=int, metavar="N", help="of a caption (default: the data set's)")
    how = parser.add_argument_group("how it is trained")
    how.add_argument("--recipe", default="modern", metavar="NAME", help="modern or paper (default: modern)")
    how.add_argument("--learning-rate", type=float, metavar="RATE", help="(default: the recipe's)")
    how.add_argument("--weight-decay", type=float, metavar="RATE", help="(default: the recipe's)")
    how.add_argument("--epochs", type=float, metavar="N", help="(default: as published, or 5)")
    how.add_argument("--max-steps", type=int, metavar="N", help="instead of --epochs")
    how.add_argument("--batch-size", type=int, metavar="N", help="of all processes (default: as published, or 128)")
    how.add_argument(
        "--chunk-size",
        type=_chunk_size,
        default="auto",
        metavar="N",
        help="pairs embedded at a time; exact (default: auto, what fits)",
    )
    how.add_argument("--captions", default="all", metavar="RULE", help="all, or one_per_video (default: all)")
    how.add_argument("--sampling", default="fps_uniform", metavar="RULE", help="frames (default: fps_uniform)")
    how.add_argument("--precision", default="fp32", metavar="NAME", help="fp32, bf16 or fp16 (default: fp32)")
    how.add_argument("--gradient-checkpointing", action="store_true", help="less memory, more computing")
    how.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    chosen = parser.add_argument_group("how the best adapter is chosen")
    chosen.add_argument(
        "--validation-fraction", type=float, metavar="X", help="of the training videos, carved out (default: 0.05)"
    )
    chosen.add_argument("--select-by", default="t2v R@1", metavar="FIGURE", help="(default: 't2v R@1')")
    chosen.add_argument(
        "--select-on-test", action="store_true", help="choose on the test split, as the papers do; said in all results"
    )
    chosen.add_argument("--eval-steps", type=int, metavar="N", help="measure every N steps (default: each epoch)")
    chosen.add_argument("--synthetic", action="store_true", help="the videos are rendered; said in all results")
    going = parser.add_argument_group("going on")
    going.add_argument("--save-steps", type=int, metavar="N", help="checkpoint every N steps (default: each epoch)")
    going.add_argument("--resume", action="store_true", help="go on from the last checkpoint, if there is one")
    going.add_argument("--dry-run", action="store_true", help="say what would be done, no more")
    going.add_argument("--report-to", action="append", default=[], metavar="NAME", help="tensorboard, wandb, ...")


def run(args: argparse.Namespace) -> int:
    """Says what will be trained, trains it, and says what came out."""
    check_data_options(args)
    is_main = int(os.environ.get("RANK", "0")) == 0
    _show_log(is_main)
    with _no_folder_left(args.output) if args.dry_run else contextlib.nullcontext():
        training = _prepare(args)
    if is_main:
        print(_describe_plan(training, args), flush=True)  # now, to a file as well
    if args.dry_run:
        return 0
    try:
        outcome = training.execute()
    except VideoDecodeError:
        hint = "Nothing was skipped. `mv-peft data check` finds every such video, `--skip-videos` leaves them out."
        print(f"mv-peft: {hint}", file=sys.stderr)
        raise
    if is_main:
        print(_describe_outcome(training, outcome, args.model))
    return 0


@contextlib.contextmanager
def _no_folder_left(output: Path) -> Iterator[None]:
    """Removes what Trainer makes as soon as there is one: the folder of checkpoints, and those above that it made."""
    from ..training.settings import TrainSettings

    checkpoints = TrainSettings(output).checkpoints
    missing = [folder for folder in (checkpoints, *checkpoints.parents) if not folder.exists()]
    try:
        yield
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):  # not made, or another process was faster
                folder.rmdir()


def _prepare(args: argparse.Namespace) -> TrainingRun:
    import torch
    from transformers import set_seed

    from ..encoders import MVProcessor
    from ..encoders.loading import load_base_model
    from ..training.run import TrainingRun

    settings = _settings(args)
    train, validation = _videos(args)
    clip = load_base_model(args.model, dtype=torch.float32)
    facts = _facts(args, clip, train, validation)
    set_seed(args.seed)
    config, max_frames, max_text_tokens = _method(args, clip)
    processor = MVProcessor.from_pretrained(
        args.model, max_frames=max_frames, max_text_tokens=max_text_tokens, frame_sampling=args.sampling
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


def _settings(args: argparse.Namespace) -> TrainSettings:
    from transformers.integrations import get_available_reporting_integrations

    from ..data import BENCHMARKS, Benchmark
    from ..training.settings import TrainSettings

    if args.epochs is not None and args.max_steps is not None:
        args.refuse("`--epochs` has no effect with `--max-steps`. Leave one of them out.")
    if args.method.startswith("full") and args.learning_rate is None:
        args.refuse(
            f"The recipes' rates are for adapters, and '{args.method}' trains CLIP itself. "
            "Give a `--learning-rate`, such as 1e-6."
        )
    available = sorted(get_available_reporting_integrations()) if args.report_to else []
    for name in args.report_to:
        if name not in available:
            installed = ", ".join(available) or "nothing"
            args.refuse(f"`--report-to` names '{name}', which is not installed. Here there is: {installed}.")
    benchmark = BENCHMARKS.get(args.dataset, Benchmark)  # of custom data the defaults
    same = ["output", "recipe", "learning_rate", "weight_decay", "max_steps", "captions", "sampling", "seed"]
    same += ["precision", "gradient_checkpointing", "num_workers", "eval_steps", "save_steps", "select_by"]
    try:
        return TrainSettings(
            **{name: getattr(args, name) for name in same},
            epochs=benchmark.epochs if args.epochs is None else args.epochs,
            batch_size=benchmark.batch_size if args.batch_size is None else args.batch_size,
            chunk_size=args.chunk_size,
            report_to=tuple(args.report_to),
        )
    except ValueError as error:
        args.refuse(str(error))
        raise


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
    """The method's configuration, and the most frames and tokens."""
    from ..data import BENCHMARKS
    from ..tuners.mv_adapter.presets import PRESETS

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
        from ..tuners import method_config

        if args.preset:
            args.refuse(f"`--preset` is for mv_adapter, got the method '{args.method}'. Leave it out.")
        try:
            config = method_config(clip, args.method, **given_fields(args))
        except TypeError as error:  # a field that the configuration does not have
            args.refuse(f"'{args.method}' cannot be set up so: {error}. Correct `--set`.")
        limits |= given
    positions = clip.config.text_config.max_position_embeddings
    if limits["max_text_tokens"] > positions:
        args.refuse(
            f"'{args.model}' takes captions of at most {positions} tokens, got {limits['max_text_tokens']}. "
            f"Give `--max-text-tokens {positions}`."
        )
    return config, limits["max_frames"], limits["max_text_tokens"]


def _adapted(clip: PreTrainedModel, config: PeftConfig | None) -> Any:
    from peft import get_peft_model

    from ..encoders import enable_video

    if config is None:
        raise ValueError("'zero-shot' trains nothing. Choose another method, or measure it by `mv-peft evaluate`.")
    return enable_video(get_peft_model(clip, config))


def _facts(
    args: argparse.Namespace, clip: PreTrainedModel, train: CaptionedVideos, validation: CaptionedVideos
) -> RunFacts:
    from ..runs.facts import base_facts
    from ..training.run_file import RunFacts

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


def _describe_plan(training: TrainingRun, args: argparse.Namespace) -> str:
    plan, settings, facts = training.plan, training.settings, training.facts
    share = settings.batch_size // plan.num_processes
    chunks = f", {plan.chunk_size} at a time" if plan.chunk_size < share else ""
    lines = {
        "trained": f"{facts.method} on {facts.base_model.name}: {plan.num_trainable:,} of {plan.num_parameters:,} "
        f"parameters ({plan.num_trainable / plan.num_parameters:.2%})",
        "videos": facts.train,
        "chosen on": facts.validation,
        "pairs": f"{plan.num_pairs:,} in an epoch ({settings.captions})",
        "steps": f"{plan.num_steps:,}, {plan.steps_per_epoch:,} in an epoch; {settings.batch_size} pairs each, "
        f"shared by {plan.num_processes} process{'es' if plan.num_processes > 1 else ''}{chunks}",
        "recipe": training.describe_recipe(),
        "memory": f"{plan.memory.describe(share, plan.chunk_size)}, estimated for each process",
    }
    text = "\n".join(f"{name:10} {line}" for name, line in lines.items())
    if args.select_on_test:
        text += "\nThe adapter is chosen on the TEST split, as papers do: its test figures are too good."
    if not training.draws_curve:
        text += "\nmatplotlib is not installed: there will be no curve.png. `pip install 'mv_peft[plots]'` brings it."
    return text


def _describe_outcome(training: TrainingRun, outcome: TrainOutcome, model: str) -> str:
    output, facts = training.settings.output, training.facts
    names = [name for name in outcome.metrics if "R@" in name or "rank" in name]
    lines = [f"Best after step {outcome.best_step}, on {facts.validation}:", ""]
    if facts.selected_on == "test":
        lines[0] = f"Best after step {outcome.best_step}, CHOSEN ON THE TEST SPLIT, {facts.validation}:"
    lines += [f"  {'':18}{'before':>8}{'after':>8}"]
    lines += [f"  {name:18}{outcome.before[name]:8.1f}{outcome.metrics[name]:8.1f}" for name in names]
    figure = training.settings.select_by
    if outcome.metrics[figure] <= outcome.before[figure]:
        lines += ["", f"No {figure} above that of the untrained model: train longer, or at another `--learning-rate`."]
    if facts.synthetic:
        lines += ["", "The videos are rendered."]
    lines += ["", f"Adapter, processor, metrics.json, run.json{' and curve.png' * training.draws_curve}: {output}"]
    if facts.selected_on == "validation" and facts.dataset != CUSTOM:
        lines += ["Once, on the test split: " + _evaluate_command(training, model)]
    return "\n".join(lines)


def _evaluate_command(training: TrainingRun, model: str) -> str:
    facts, output = training.facts, training.settings.output
    words = ["mv-peft", "evaluate", "--model", model, "--adapter", str(output)]
    return shlex.join([*words, "--dataset", facts.dataset, "--root", "..."])


def _chunk_size(text: str) -> int | str:
    if text != "auto" and not text.lstrip("-").isdigit():
        raise argparse.ArgumentTypeError(f"must be a number or auto, got {text!r}.")
    return text if text == "auto" else int(text)


def _show_log(is_main: bool) -> None:
    """Our own log on stderr, a line as it is; of the other processes only what is wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("mv_peft")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO if is_main else logging.ERROR)
