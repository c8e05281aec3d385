"""Measures how well a CLIP, zero-shot or with an adapter, finds videos by captions and captions by videos.

Prints a table, with the published figures of the benchmark's test beside it, quoted. Under torchrun the work is shared
by the processes; the result is the same.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.custom import CUSTOM
from .data_options import add_data_options, check_data_options, frame_reader, load_split

if TYPE_CHECKING:
    import torch

    from ..data import VideoRecord
    from ..retrieval import RetrievalEmbeddings, RetrievalResult
    from ..runs.metrics_file import MetricsFile

HELP = "measure text-video retrieval on a benchmark or on your own videos"
EXAMPLES = """examples:
  mv-peft evaluate --model openai/clip-vit-base-patch16 --dataset msrvtt --root MSRVTT
  mv-peft evaluate --model openai/clip-vit-base-patch16 --adapter runs/msrvtt --dataset msrvtt --root MSRVTT \\
      --cache cache --output runs/msrvtt/metrics.json
  mv-peft evaluate --model clip --adapter lora --dataset custom --root holiday.csv --embeddings embeddings
  torchrun --nproc-per-node 2 -m mv_peft evaluate --model clip --dataset msvd --root MSVD --precision bf16
"""
# Written out, so that `mv-peft --help` need not import torch.
TIES = ("strict", "optimistic", "clip4clip")
POST_PROCESSING = ("dual-softmax", "qb-norm")
PRECISIONS = {"fp32": None, "bf16": "bfloat16", "fp16": "float16"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `mv-peft evaluate`."""
    parser.add_argument("--model", required=True, metavar="NAME_OR_DIR", help="a CLIP")
    parser.add_argument("--adapter", metavar="NAME_OR_DIR", help="its adapter, of any PEFT method (default: zero-shot)")
    add_data_options(parser)
    parser.add_argument("--split", metavar="NAME", help="which one; own data has none (default: test)")
    parser.add_argument("--synthetic", action="store_true", help="the videos are rendered; said in all results")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out what cannot be read, and report it")
    parser.add_argument("--sampling", metavar="RULE", help="frames (default: the processor's, or fps_uniform)")
    parser.add_argument(
        "--ties", default="strict", choices=TIES, metavar="NAME", help=f"{', '.join(TIES)} (default: strict)"
    )
    parser.add_argument(
        "--post-processing",
        choices=POST_PROCESSING,
        metavar="NAME",
        help=f"{', '.join(POST_PROCESSING)}; not comparable with figures without (default: none)",
    )
    parser.add_argument(
        "--query-bank", metavar="SPLIT", help="of qb-norm; for own data a file or folder as --root (default: train)"
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="videos at a time (default: 32)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, ... (default: cuda if there is one)")
    parser.add_argument(
        "--precision", default="fp32", choices=PRECISIONS, metavar="NAME", help="fp32, bf16, fp16 (default: fp32)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write all of it as JSON, as metrics.json")
    parser.add_argument("--embeddings", type=Path, metavar="DIR", help="keep the embeddings")


def run(args: argparse.Namespace) -> int:
    """Measures, prints the table, and writes what was asked for."""
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
    check_data_options(args)
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
    from ..data import BENCHMARKS
    from ..hub.retrieval_model import load_retrieval_model
    from ..retrieval import benchmark_protocol, default_protocol, embed_records, evaluate_embeddings, format_result
    from ..retrieval.postprocessing import POST_PROCESSING

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
                frame_sampling=args.sampling,
                read=frame_reader(args, videos) if args.cache is not None else None,
                on_error=on_error,
            )

    embeddings = embed(records, "skip" if args.skip_unreadable else "raise")
    post_processing, bank = None, None
    if args.post_processing is not None:
        post_processing = POST_PROCESSING[args.post_processing]()
    if args.post_processing == "qb-norm":
        bank = embed(_query_bank(args), "skip")  # a sample of training data: one video less is another sample
    result = evaluate_embeddings(
        embeddings, protocol=protocol, ties=args.ties, post_processing=post_processing, query_bank=bank
    )
    is_test = args.dataset != CUSTOM and split == "test"
    method = "zero-shot" if args.adapter is None else model.peft_config["default"].peft_type.value
    report = format_result(result, f"{method}, this run", published=args.dataset if is_test else None)
    content = _content(args, result, model, processor, None if args.dataset == CUSTOM else split)
    if content.training.selected_on == "test":
        report += "\nThe adapter was chosen on the TEST split, as papers do: its test figures are too good."
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
    from ..runs.facts import base_facts, versions

    measured = result.to_metrics_file()
    data = replace(
        measured.data,
        dataset=args.dataset,
        split=split,
        max_frames=processor.max_frames,
        max_text_tokens=processor.max_text_tokens,
        frame_sampling=args.sampling or processor.frame_sampling,
        synthetic=args.synthetic or None,
    )
    base = base_facts(model if args.adapter is None else model.get_base_model(), args.model)
    content = replace(measured, base_model=base, data=data, versions=versions())
    return content if args.adapter is None else _with_training(content, args.adapter, model)


def _with_training(content: MetricsFile, adapter: str, model: Any) -> MetricsFile:
    """Add what is known of an adapter: its size, and what its training noted if it was of the same base model."""
    from ..runs.files import WEIGHTS_FILE
    from ..runs.metrics_file import AdapterFacts, MetricsFile, known

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
    from ..atomic import write_json
    from ..runs.files import read_json

    if path.exists():
        read_json(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content.to_dict())


@contextmanager
def _processes(args: argparse.Namespace) -> Iterator[tuple[int, torch.device]]:
    """Joins the processes that torchrun started; rank and device of this one."""
    import torch
    from torch import distributed

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
    # Not after an error: it would reach the others before it is told.
    distributed.destroy_process_group()


def _autocast(device: torch.device, precision: str) -> Any:
    import torch

    name = PRECISIONS[precision]
    return nullcontext() if name is None else torch.autocast(device.type, getattr(torch, name))
