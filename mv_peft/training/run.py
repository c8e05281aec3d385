"""A whole training: the plan, the steps, and what is written at the end."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch import nn

from ..data import VideoCaptionDataset, VideoRecord
from ..encoders import MVProcessor
from ..encoders.families import DualEncoder
from ..retrieval import RetrievalResult, evaluate_retrieval
from ..runs.facts import adapter_facts, versions
from ..runs.files import CURVE_FILE, METRICS_FILE
from ..runs.metrics_file import MetricsFile, TrainingFacts
from ..video import VideoFrames, read_frames
from .arguments import RetrievalTrainingArguments
from .batches import PairCollator
from .checkpoints import (
    KEPT_CHECKPOINTS,
    MEASURED_FILE,
    KeepBest,
    MarkCheckpoints,
    last_checkpoint,
    publish_best,
    remove_incomplete,
    wait_for_all,
)
from .curve import can_draw, draw_curve
from .determinism import use_deterministic_algorithms
from .memory import MemoryEstimate, device_memory, estimate_memory
from .progress import ProgressBar
from .run_file import RunFacts, begin_run, configuration, write_run
from .settings import TrainSettings
from .trainer import RetrievalTrainer

logger = logging.getLogger(__name__)

# What Transformers calls gradient checkpointing from now on, and how it is done.
_RENAMED = "activation_checkpointing"
_CHECKPOINTING = {"use_reentrant": False}
_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class TrainPlan:
    """What a training is going to do.

    Attributes:
        num_trainable: Parameters that are trained.
        num_parameters: All parameters of the model.
        num_pairs: Pairs in an epoch.
        steps_per_epoch: Full batches; what is left over is drawn again in the next epoch.
        num_steps: Steps in all.
        num_processes: How many train together.
        chunk_size: Pairs that a process embeds at a time.
        memory: What each process's device needs.
    """

    num_trainable: int
    num_parameters: int
    num_pairs: int
    steps_per_epoch: int
    num_steps: int
    num_processes: int
    chunk_size: int
    memory: MemoryEstimate


@dataclass(frozen=True)
class TrainOutcome:
    """The outcome of a training.

    Attributes:
        best_step: The step after which the best adapter was saved.
        metrics: How well that one finds the validation videos.
        before: How well the model found them before training.
        metrics_file: What `metrics.json` says.
    """

    best_step: int
    metrics: dict[str, float]
    before: dict[str, float]
    metrics_file: MetricsFile


class TrainingRun:
    """Training of a dual encoder that takes videos; the adapter that is best on the validation videos is kept.

    On the same machine and number of processes the same run gives the same adapter, to the bit, whether it was
    interrupted or not.

    Args:
        model: An adapted dual encoder, or one to which `enable_video` has been applied.
        processor: Its processor.
        train: Videos to train on, all of them there.
        validation: Videos to choose the best adapter on.
        settings: How to train.
        facts: What is to be written about model and data.
        read: Takes the place of `read_frames`: a cache of frames, for example.
        resume: Go on where `settings.output` has a checkpoint; begin where it has none.

    Attributes:
        plan: What is going to happen.

    Raises:
        TrainingError: If the folder holds a training, and `resume` is false or that is another training.
        ValueError: If there are fewer pairs than fill a batch, or the batch cannot be shared by the processes.
    """

    def __init__(
        self,
        model: nn.Module,
        processor: MVProcessor,
        train: Sequence[VideoRecord],
        validation: Sequence[VideoRecord],
        settings: TrainSettings,
        facts: RunFacts,
        *,
        read: Callable[..., VideoFrames] = read_frames,
        resume: bool = False,
    ) -> None:
        use_deterministic_algorithms()
        self.processor = processor
        self.validation = validation
        self.facts = facts
        self._read = read
        self._configuration = configuration(model, processor)
        self._before = begin_run(settings, facts, self._configuration, resume=resume)
        dataset = VideoCaptionDataset(
            train,
            settings.captions,
            seed=settings.seed if settings.captions == "one_per_video" else None,
            processor=processor,
            frame_sampling=settings.frame_sampling,
            read=read,
        )
        # Where an interrupted training got a chunk size from a device's memory, it keeps it.
        if settings.chunk_size == "auto" and self._before:
            settings = replace(settings, chunk_size=self._before["plan"]["chunk_size"])
        self.settings = settings
        arguments = _arguments(settings, len(dataset))
        self._result: RetrievalResult | None = None
        self.trainer = RetrievalTrainer(
            model,
            arguments,
            dataset,
            PairCollator(processor),
            evaluate=self._measure,
            callbacks=[
                ProgressBar(settings.batch_size, settings.select_by),
                KeepBest(settings.checkpoints / "best", settings.select_by, self._describe),
                MarkCheckpoints(settings.checkpoints),
            ],
        )
        self.plan = self._plan(len(dataset))
        share = settings.per_process(arguments.world_size)
        arguments.chunk_size = self.plan.chunk_size if self.plan.chunk_size < share else None

    def execute(self) -> TrainOutcome:
        """Train, and write adapter, processor, metrics, curve and record into `settings.output`.

        Raises:
            TrainingError: If a loss or a gradient is not a number.
        """
        folder, is_main = self.settings.checkpoints, self.trainer.is_world_process_zero()
        checkpoint = last_checkpoint(folder)
        is_published = "history" in self._before and (self.settings.output / METRICS_FILE).exists()
        is_finished = is_published and checkpoint is not None
        wait_for_all()
        if is_main:
            folder.mkdir(parents=True, exist_ok=True)
            remove_incomplete(folder)
            self._write_run()
        if self._before and self._before["plan"]["num_processes"] != self.plan.num_processes:
            logger.warning(
                "Resumed on %d processes, begun on %d: the adapter will be as good, but not the same to the bit.",
                self.plan.num_processes,
                self._before["plan"]["num_processes"],
            )
        if checkpoint is not None:
            logger.info("Resumed after step %s.", checkpoint.name.removeprefix("checkpoint-"))
        with self.trainer.accelerator.autocast():
            before = self._measure(self.trainer.model)
        logger.info("Before training: %s %.1f.", self.settings.select_by, before[self.settings.select_by])
        began = time.perf_counter()
        self.trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        seconds = None if checkpoint is not None else time.perf_counter() - began
        wait_for_all()
        # Read once: another machine may not see the file, or not yet.
        measured = [json.loads((folder / "best" / MEASURED_FILE).read_text(encoding="utf-8")) if is_main else None]
        best = broadcast_object_list(measured)[0]
        metrics_file = self._metrics_file(best, before, seconds)
        if is_finished:
            logger.info("'%s' has been trained to its end; it stays as it is.", self.settings.output)
        elif is_main:
            untrained = {"step": 0, f"eval_{self.settings.select_by}": before[self.settings.select_by]}
            metrics_file = self._publish(metrics_file, [untrained])
        wait_for_all()
        return TrainOutcome(best["step"], metrics_file.metrics, before, metrics_file)

    @property
    def draws_curve(self) -> bool:
        """Tell whether there will be a `curve.png`: matplotlib is an extra."""
        return can_draw()

    def describe_recipe(self) -> str:
        """Describe the optimizer, the rates and the schedule in words."""
        arguments = self.trainer.args
        recipe = arguments.resolved_recipe()
        optimizer = recipe.optimizer(recipe.parameter_groups(self.trainer.model))
        return (
            f"{arguments.recipe}: {type(optimizer).__name__}, learning rate {recipe.learning_rate:g}, weight decay "
            f"{recipe.weight_decay:g}, gradients clipped to {arguments.max_grad_norm:g}, {self.settings.precision}"
        )

    def _measure(self, model: nn.Module) -> dict[str, float]:
        self._result = evaluate_retrieval(
            model,
            self.processor,
            self.validation,
            batch_size=self.settings.eval_batch_size,
            num_workers=self.settings.num_workers,
            frame_sampling=self.settings.frame_sampling,
            read=self._read,
            progress=False,
        )
        return self._result.metrics

    def _describe(self) -> dict[str, Any]:
        assert self._result is not None
        return {"step": self.trainer.state.global_step, **self._result.to_metrics_file().to_dict()}

    def _plan(self, num_pairs: int) -> TrainPlan:
        settings, arguments, model = self.settings, self.trainer.args, self.trainer.model
        if settings.gradient_checkpointing:  # Trainer does so too late for the estimate
            name = _RENAMED if hasattr(model, f"{_RENAMED}_enable") else "gradient_checkpointing"
            getattr(model, f"{name}_enable")(**{f"{name}_kwargs": _CHECKPOINTING})
        memory = estimate_memory(model, self._longest_pair(), _AUTOCAST[settings.precision])
        share = settings.per_process(arguments.world_size)
        chunk_size = share if settings.chunk_size == "auto" else min(settings.chunk_size, share)
        available = device_memory(arguments.device)
        if settings.chunk_size == "auto" and available is not None:
            chunk_size = memory.chunk_size(share, available)
        return TrainPlan(
            num_trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
            num_parameters=sum(p.numel() for p in model.parameters()),
            num_pairs=num_pairs,
            steps_per_epoch=num_pairs // settings.batch_size,
            num_steps=arguments.max_steps,
            num_processes=arguments.world_size,
            chunk_size=chunk_size,
            memory=memory,
        )

    def _longest_pair(self) -> dict[str, torch.Tensor]:
        """Make a pair with as many frames and tokens as there may be, to measure its size."""
        config = self.trainer.model.config
        side, family = config.vision_config.image_size, DualEncoder.of_config(config)
        length = family.max_text_tokens(config.text_config)
        if family.padding == "longest":
            length = min(length, self.processor.max_text_tokens)
        tokens = torch.zeros(1, length, dtype=torch.long)
        tokens[0, -1] = config.text_config.eos_token_id
        frames = self.processor.max_frames
        pair = {
            "input_ids": tokens,
            "attention_mask": torch.ones_like(tokens),
            "pixel_values": torch.zeros(1, frames, 3, side, side),
            "frame_mask": torch.ones(1, frames, dtype=torch.long),
        }
        return {name: tensor.to(self.trainer.args.device) for name, tensor in pair.items()}

    def _metrics_file(self, best: dict[str, Any], before: dict[str, float], seconds: float | None) -> MetricsFile:
        """Describe the training: what was measured when the adapter was best, and all that led to it."""
        settings, plan = self.settings, self.plan
        recipe = self.trainer.args.resolved_recipe()
        measured = MetricsFile.from_dict({name: value for name, value in best.items() if name != "step"})
        data = replace(
            measured.data,
            dataset=self.facts.dataset,
            split=self.facts.selected_on,
            max_frames=self.processor.max_frames,
            max_text_tokens=self.processor.max_text_tokens,
            frame_sampling=settings.frame_sampling,
            synthetic=self.facts.synthetic,
        )
        training = TrainingFacts(
            recipe=settings.recipe,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            seed=settings.seed,
            epochs=plan.num_steps / plan.steps_per_epoch,
            steps=plan.num_steps,
            batch_size=settings.batch_size,
            captions=settings.captions,
            num_processes=plan.num_processes,
            precision=settings.precision,
            device=_device_name(self.trainer.args.device),
            seconds=None if seconds is None else round(seconds, 1),
            selected_on=self.facts.selected_on,
            selected_by=settings.select_by,
            best_step=best["step"],
            before=before,
        )
        return replace(measured, base_model=self.facts.base_model, data=data, training=training, versions=versions())

    def _publish(self, metrics_file: MetricsFile, history: list[dict[str, Any]]) -> MetricsFile:
        """Write everything into the output folder, and return what `metrics.json` says."""
        settings, facts = self.settings, self.facts
        size = publish_best(settings.checkpoints / "best", settings.output)
        self.processor.save_pretrained(settings.output)
        history = history + self.trainer.state.log_history
        if can_draw():
            warning = "" if facts.selected_on == "validation" else f", selected on the {facts.selected_on} split"
            title = f"{facts.method} on {facts.dataset}: {facts.validation}{warning}"
            draw_curve(history, settings.output / CURVE_FILE, metric=settings.select_by, title=title)
        self._write_run(history=history)
        metrics_file = replace(metrics_file, adapter=adapter_facts(self.trainer.model, facts.method, size))
        metrics_file.write(settings.output)  # last: where it is, all the rest is
        return metrics_file

    def _write_run(self, **more: Any) -> None:
        described = {"configuration": self._configuration, "plan": asdict(self.plan)}
        write_run(self.settings, self.facts, self._before, **described, **more)


def _arguments(settings: TrainSettings, num_pairs: int) -> RetrievalTrainingArguments:
    on_cpu = not torch.accelerator.is_available()
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))  # as torchrun says
    options: dict[str, Any] = {
        "use_cpu": on_cpu,
        # Without a GPU accelerate would not let the processes know of each other.
        "ddp_backend": "gloo" if on_cpu and num_processes > 1 else None,
        "output_dir": str(settings.checkpoints),
        "recipe": settings.recipe,
        "learning_rate": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "seed": settings.seed,
        "bf16": settings.precision == "bf16",
        "fp16": settings.precision == "fp16",
        "dataloader_num_workers": settings.num_workers,
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "save_total_limit": KEPT_CHECKPOINTS,
        "metric_for_best_model": settings.select_by,
        "greater_is_better": True,
        "report_to": list(settings.report_to) or "none",
        "disable_tqdm": True,
    }
    if settings.gradient_checkpointing:
        names = {argument.name for argument in fields(RetrievalTrainingArguments)}
        name = _RENAMED if _RENAMED in names else "gradient_checkpointing"
        options |= {name: True, f"{name}_kwargs": _CHECKPOINTING}
    arguments = RetrievalTrainingArguments(**options)
    assert arguments.world_size == num_processes, (arguments.world_size, num_processes)
    arguments._n_gpu = min(arguments.n_gpu, 1)  # of several, DataParallel would give each a batch of its own
    arguments.per_device_train_batch_size = settings.per_process(arguments.world_size)
    steps_per_epoch = num_pairs // settings.batch_size
    # Rounded first: 0.07 * 100 is 7.000000000000001.
    arguments.max_steps = settings.max_steps or math.ceil(round(settings.epochs * steps_per_epoch, 6))
    arguments.eval_steps = settings.eval_steps or max(1, steps_per_epoch)
    arguments.save_steps = settings.save_steps or max(1, steps_per_epoch)
    arguments.logging_steps = max(1, min(10, arguments.max_steps // 50))
    return arguments


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
