"""Compare a training step and a forward pass of frozen CLIP, LoRA, MV-Adapter and full fine-tuning: time and memory.

    python -m benchmarks.speed.step                       # ViT-B/16, 2 clips of 12 frames of 224 pixels
    python -m benchmarks.speed.step --size tiny --rounds 20
    python -m benchmarks.speed.step --bf16 --batch-size 32          # on a GPU

The methods take turns in every round, so that a machine whose speed drifts treats all of them alike. What counts are
the medians of the ratios. The table shows them beside the ratios that follow from counting the operations of matrix
products. A step is forward, loss and backward, without the optimizer. Its memory is the peak of what it needs besides
the model: on a GPU of all tensors, on Linux of a process that does nothing else. Weights are random.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from transformers import CLIPModel

from .models import METHODS, SIZES, clip_config, make_batch

BASELINES = {"forward": "frozen CLIP", "step": "LoRA r=8 (q, v)"}


def seconds(work: Callable[[], object], device: str) -> float:
    """Wall-clock time of one call, with the queue of the device empty before and after it."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def forward(model: nn.Module, batch: dict[str, Tensor], args: argparse.Namespace) -> None:
    """Run a forward pass without gradients, as a search does."""
    with torch.no_grad(), torch.autocast(args.device, torch.bfloat16, enabled=args.bf16):
        model.eval()(**batch, return_loss=True)


def step(model: nn.Module, batch: dict[str, Tensor], args: argparse.Namespace) -> None:
    """Run a training step without the optimizer."""
    with torch.autocast(args.device, torch.bfloat16, enabled=args.bf16):
        loss = model.train()(**batch, return_loss=True).loss
    if loss.requires_grad:
        loss.backward()
    model.zero_grad()


def measure(args: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Seconds of both kinds of work for each method, one number a round. The first round does not count."""
    torch.manual_seed(0)
    config = clip_config(args.size)
    models = {name: make(CLIPModel(config)).to(args.device) for name, make in METHODS.items()}
    batch = make_batch(config, args.batch_size, args.num_frames, args.device)
    times: dict[str, dict[str, list[float]]] = {name: {"forward": [], "step": []} for name in models}
    for _ in tqdm(range(args.rounds + 1), desc="measuring", unit="round", disable=None):
        for name, model in models.items():
            for work in (forward, step):
                taken = seconds(lambda work=work, model=model: work(model, batch, args), args.device)
                times[name][work.__name__].append(taken)
    return {name: {work: rounds[1:] for work, rounds in kinds.items()} for name, kinds in times.items()}


def operations(name: str, args: argparse.Namespace) -> dict[str, int]:
    """Count the multiplications and additions in the matrix products of both kinds of work."""
    config = clip_config(args.size)
    model = METHODS[name](CLIPModel(config))
    batch = make_batch(config, args.batch_size, args.num_frames)
    on_cpu = argparse.Namespace(device="cpu", bf16=False)
    counted = {}
    # The model is frozen for the second kind, because the counter fails where gradients are wanted but not computed.
    for work in (step, forward):
        with FlopCounterMode(display=False) as counter:
            work(model, batch, on_cpu)
        counted[work.__name__] = counter.get_total_flops()
        model.requires_grad_(False)
    return counted


def step_memory(name: str, args: argparse.Namespace) -> float | None:
    """GiB that a step needs besides the model; None if the system does not tell."""
    torch.manual_seed(0)
    config = clip_config(args.size)
    model = METHODS[name](CLIPModel(config)).to(args.device)
    batch = make_batch(config, args.batch_size, args.num_frames, args.device)
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        rest = torch.cuda.memory_allocated()
        step(model, batch, args)
        return (torch.cuda.max_memory_allocated() - rest) / 2**30
    if not Path("/proc/self/status").exists():
        return None
    rest = _resident_kib("VmRSS")
    step(model, batch, args)
    return (_resident_kib("VmHWM") - rest) / 2**20


def memory_in_a_fresh_process(name: str, args: argparse.Namespace) -> float | None:
    """`step_memory` in a process that has freed no memory before, which a step could use again."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(step_memory, name, args).result()


def _resident_kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def ratio(rounds: list[float], baseline: list[float]) -> float:
    """Median of the ratios, round by round."""
    return statistics.median(one / other for one, other in zip(rounds, baseline, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="B/16", help="size of the CLIP (default: B/16)")
    parser.add_argument("--batch-size", type=int, metavar="N", default=2, help="videos of a batch (default: 2)")
    parser.add_argument("--num-frames", type=int, metavar="N", default=12, help="frames of a video (default: 12)")
    parser.add_argument("--rounds", type=int, metavar="N", default=5, help="how often each is measured (default: 5)")
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where to measure (default: cuda if there is one)",
    )
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    args = parser.parse_args()
    times = measure(args)
    memory = {name: memory_in_a_fresh_process(name, args) for name in METHODS}
    counts = {name: operations(name, args) for name in METHODS}
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    print(
        f"{args.size}, {args.batch_size} videos x {args.num_frames} frames, random weights, {where}, "
        f"torch {torch.__version__}"
    )
    heads = ("forward s", "/ frozen", "by count", "step s", "/ LoRA", "by count")
    print(f"{'':19}{''.join(f'{head:>10}' for head in heads)}{'GiB':>8}")
    for name, kinds in times.items():
        cells = ""
        for work, baseline in BASELINES.items():
            relative = ratio(kinds[work], times[baseline][work])
            counted = counts[name][work] / counts[baseline][work]
            cells += f"{statistics.median(kinds[work]):10.3f}{relative:10.2f}{counted:10.3f}"
        print(f"{name:19}{cells}{'' if memory[name] is None else f'{memory[name]:.2f}':>8}")


if __name__ == "__main__":
    main()
