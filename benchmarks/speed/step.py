"""Seconds and memory of a training step and of a forward pass: frozen CLIP, LoRA, MV-Adapter, full fine-tuning.

    python -m benchmarks.speed.step                       # ViT-B/16, 2 clips of 12 frames of 224 pixels, random weights
    python -m benchmarks.speed.step --size tiny --rounds 20
    python -m benchmarks.speed.step --bf16 --videos 32    # on a GPU

The methods take turns in every round, so that a machine whose speed drifts treats them alike; what counts are the
ratios, and their medians. Beside them stand the ratios that follow from counting the operations of matrix products. A
step is forward, loss and backward. Its memory is what it needs beside the model, at its peak: on a GPU of tensors, on
Linux of a process of its own. Random weights cost as much as trained ones. Switching between adapters and loading them
have a benchmark of their own, `benchmarks.speed.switching`.
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
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from transformers import CLIPConfig, CLIPModel

from mv_peft import MVAdapterConfig, enable_video

SIZES = {
    "B/16": {"patch_size": 16},
    "tiny": {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 384},
}
METHODS: dict[str, Callable[[CLIPModel], nn.Module]] = {
    "frozen CLIP": lambda clip: enable_video(clip.requires_grad_(False)),
    "LoRA r=8 (q, v)": lambda clip: enable_video(
        get_peft_model(clip, LoraConfig(r=8, target_modules=["q_proj", "v_proj"]))
    ),
    "MV-Adapter": lambda clip: get_peft_model(clip, MVAdapterConfig()),
    "full fine-tuning": enable_video,
}
BASELINES = {"forward": "frozen CLIP", "step": "LoRA r=8 (q, v)"}


def make_batch(videos: int, frames: int, size: int, device: str) -> dict[str, Tensor | bool]:
    """Random videos and captions of 32 tokens."""
    input_ids = torch.randint(1000, 40000, (videos, 32), device=device)
    input_ids[:, -1] = 49407
    pixel_values = torch.randn(videos, frames, 3, size, size, device=device)
    return {"input_ids": input_ids, "pixel_values": pixel_values, "return_loss": True}


def seconds(work: Callable[[], object], device: str) -> float:
    """Wall-clock time of one call, with the device's queue emptied on both sides."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def forward(model: nn.Module, batch: dict[str, Tensor | bool], args: argparse.Namespace) -> None:
    """What a search does."""
    with torch.no_grad(), torch.autocast(args.device, torch.bfloat16, enabled=args.bf16):
        model.eval()(**batch)


def step(model: nn.Module, batch: dict[str, Tensor | bool], args: argparse.Namespace) -> None:
    """What training does, but for the optimizer."""
    with torch.autocast(args.device, torch.bfloat16, enabled=args.bf16):
        loss = model.train()(**batch).loss
    if loss.requires_grad:
        loss.backward()
    model.zero_grad()


def measure(args: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Seconds for each method and kind of work, one number a round; the first round is thrown away."""
    torch.manual_seed(0)
    config = CLIPConfig(vision_config=SIZES[args.size])
    models = {name: make(CLIPModel(config)).to(args.device) for name, make in METHODS.items()}
    batch = make_batch(args.videos, args.frames, config.vision_config.image_size, args.device)
    times: dict[str, dict[str, list[float]]] = {name: {"forward": [], "step": []} for name in models}
    for _ in tqdm(range(args.rounds + 1), desc="measuring", unit="round", disable=None):
        for name, model in models.items():
            for work in (forward, step):
                taken = seconds(lambda work=work, model=model: work(model, batch, args), args.device)
                times[name][work.__name__].append(taken)
    return {name: {work: rounds[1:] for work, rounds in kinds.items()} for name, kinds in times.items()}


def operations(name: str, args: argparse.Namespace) -> dict[str, int]:
    """Multiplications and additions in the matrix products of both kinds of work."""
    config = CLIPConfig(vision_config=SIZES[args.size])
    model = METHODS[name](CLIPModel(config))
    batch = make_batch(args.videos, args.frames, config.vision_config.image_size, "cpu")
    on_cpu = argparse.Namespace(device="cpu", bf16=False)
    counted = {}
    for work in (step, forward):  # frozen for the second: the counter fails without gradients where they are wanted
        with FlopCounterMode(display=False) as counter:
            work(model, batch, on_cpu)
        counted[work.__name__] = counter.get_total_flops()
        model.requires_grad_(False)
    return counted


def step_memory(name: str, args: argparse.Namespace) -> float | None:
    """GiB that a step needs beside the model; None where the system does not tell."""
    torch.manual_seed(0)
    config = CLIPConfig(vision_config=SIZES[args.size])
    model = METHODS[name](CLIPModel(config)).to(args.device)
    batch = make_batch(args.videos, args.frames, config.vision_config.image_size, args.device)
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
    """`step_memory`, where nothing was freed before that a step could find."""
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
    parser.add_argument("--size", choices=SIZES, default="B/16")
    parser.add_argument("--videos", type=int, default=2)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    args = parser.parse_args()
    times = measure(args)
    memory = {name: memory_in_a_fresh_process(name, args) for name in METHODS}
    counts = {name: operations(name, args) for name in METHODS}
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    print(
        f"{args.size}, {args.videos} videos x {args.frames} frames, random weights, {where}, torch {torch.__version__}"
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
