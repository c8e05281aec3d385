"""The work of `mv-peft evaluate`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from ..atomic import write_json
from ..data import BENCHMARKS, VideoRecord
from ..data.custom import CUSTOM
from ..hub.retrieval_model import load_retrieval_model
from ..retrieval import (
    RetrievalEmbeddings,
    RetrievalResult,
    benchmark_protocol,
    default_protocol,
    embed_records,
    evaluate_embeddings,
    format_result,
)
from ..retrieval.postprocessing import POST_PROCESSING
from ..runs.facts import base_facts, versions
from ..runs.files import WEIGHTS_FILE, read_json
from ..runs.metrics_file import AdapterFacts, MetricsFile, known
from .splits import frame_reader, load_split

AUTOCAST_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, and write what was asked for."""
    _check_options(args)
    with _processes(args) as (rank, device):
        report, content, embeddings = _measure(args, device)
        if rank > 0:
            return 0
        if args.embeddings is not None:
            embeddings.save(args.embeddings)
        if args.output is not None:
            _write(args.output, content)
    print(report)
    return 0


def _check_options(args: argparse.Namespace) -> None:
    if args.num_workers < 0:
        args.refuse(f"`--num-workers` must not be negative, got {args.num_workers}.")
    if args.batch_size < 1:
        args.refuse(f"`--batch-size` must be positive, got {args.batch_size}.")
    if args.dataset == CUSTOM and args.split is not None:
        args.refuse("`--split` has no effect with `--dataset custom`, which has none. Leave it out.")
    if args.post_processing != "qb-norm" and args.query_bank is not None:
        args.refuse("`--query-bank` has no effect without `--post-processing qb-norm`. Leave it out.")
    if args.post_processing == "qb-norm" and args.query_bank is None and args.dataset == CUSTOM:
        args.refuse(
            "`--post-processing qb-norm` needs `--query-bank` with `--dataset custom`, which has no train split."
        )


def _measure(args: argparse.Namespace, device: torch.device) -> tuple[str, MetricsFile, RetrievalEmbeddings]:
    split = args.split or "test"
    records = load_split(args, split)
    limits: dict[str, Any] = {}
    if args.dataset != CUSTOM:
        benchmark = BENCHMARKS[args.dataset]
        limits = {"max_frames": benchmark.max_frames, "max_text_tokens": benchmark.max_text_tokens}
        protocol = benchmark_protocol(args.dataset, split, records)
    else:
        limits = {"max_text_tokens": 32}
        protocol = default_protocol(records)
    model, processor = load_retrieval_model(args.model, args.adapter, **limits)
    model.to(device)

    def embed(videos: Sequence[VideoRecord], on_error: Any) -> RetrievalEmbeddings:
        with _autocast(device, args.precision):
            return embed_records(
                model,
                processor,
                videos,
                batch_size=args.batch_size,
                num_workers=args.num_workers,
                frame_sampling=args.frame_sampling,
                read=frame_reader(args, videos) if args.cache is not None else None,
                on_error=on_error,
            )

    embeddings = embed(records, "skip" if args.skip_unreadable else "raise")
    post_processing, bank = None, None
    if args.post_processing is not None:
        post_processing = POST_PROCESSING[args.post_processing]()
    if args.post_processing == "qb-norm":
        bank = embed(_query_bank(args), "skip")  # a sample of training data, which may lack some videos
    result = evaluate_embeddings(
        embeddings, protocol=protocol, ties=args.ties, post_processing=post_processing, query_bank=bank
    )
    is_test = args.dataset != CUSTOM and split == "test"
    method = "zero-shot" if args.adapter is None else model.peft_config["default"].peft_type.value
    report = format_result(result, f"{method}, this run", published=args.dataset if is_test else None)
    content = _content(args, result, model, processor, None if args.dataset == CUSTOM else split)
    if content.training.selected_on == "test":
        report += "\nThe adapter was chosen on the TEST split, as papers do. Its test metrics are too good."
    if content.data.synthetic:
        report += "\nThe videos are rendered."
    return report, content, embeddings


def _query_bank(args: argparse.Namespace) -> Sequence[VideoRecord]:
    bank = argparse.Namespace(**{**vars(args), "skip_videos": [], "strict": False})
    if args.dataset == CUSTOM:
        bank.root, bank.videos = Path(args.query_bank), None
    return load_split(bank, args.query_bank or "train")


def _content(
    args: argparse.Namespace, result: RetrievalResult, model: Any, processor: Any, split: str | None
) -> MetricsFile:
    """Describe the evaluation, and the training of the adapter as far as it is known."""
    measured = result.to_metrics_file()
    data = replace(
        measured.data,
        dataset=args.dataset,
        split=split,
        max_frames=processor.max_frames,
        max_text_tokens=processor.max_text_tokens,
        frame_sampling=args.frame_sampling or processor.frame_sampling,
        synthetic=args.synthetic or None,
    )
    base = base_facts(model if args.adapter is None else model.get_base_model(), args.model)
    content = replace(measured, base_model=base, data=data, versions=versions())
    return content if args.adapter is None else _with_training(content, args.adapter, model)


def _with_training(content: MetricsFile, adapter: str, model: Any) -> MetricsFile:
    """Add what is known of an adapter: its size, and what its training noted if it was of the same base model."""
    folder = Path(adapter)
    weights = folder / WEIGHTS_FILE
    noted = MetricsFile.read(folder)
    if noted.base_model.fingerprint != content.base_model.fingerprint:
        noted = MetricsFile()
    facts = AdapterFacts(
        method=model.peft_config["default"].peft_type.value,
        total_parameters=sum(parameter.numel() for parameter in model.parameters()),
        bytes=weights.stat().st_size if weights.is_file() else None,
    )
    is_synthetic = noted.data.synthetic and noted.data.dataset == content.data.dataset
    return replace(
        content,
        adapter=replace(facts, **known(noted.adapter)),
        training=noted.training,
        data=replace(content.data, synthetic=True) if is_synthetic else content.data,
        unknown={name: part for name, part in noted.unknown.items() if name in ("adapter", "training")},
    )


def _write(path: Path, content: MetricsFile) -> None:
    """Write the file, over nothing but JSON."""
    if path.exists():
        read_json(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content.to_dict())


@contextmanager
def _processes(args: argparse.Namespace) -> Iterator[tuple[int, torch.device]]:
    """Join the processes that torchrun started, and yield the rank and the device of this one."""
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    name = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(f"cuda:{local_rank}" if name == "cuda" else name)
    except RuntimeError as error:
        raise ValueError(f"Unknown `--device` '{name}'. Give cpu, cuda, or another of PyTorch's.") from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield 0, device
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    yield distributed.get_rank(), device
    # Not after an error, which must be reported before the other processes notice.
    distributed.destroy_process_group()


def _autocast(device: torch.device, precision: str) -> Any:
    dtype = AUTOCAST_DTYPES[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
