"""Compute how many pairs of a batch fit a GPU, for LoRA, MV-Adapter and full fine-tuning.

    python -m benchmarks.speed.memory                    # ViT-B/16, a batch of 128 clips of 12 frames, a GPU of 16 GiB
    python -m benchmarks.speed.memory --size tiny --gib 8

What autograd keeps of one pair is counted on the CPU, in a forward pass with random weights; the rest of a step's
memory is computed. On a GPU other kernels may keep a little more or less. Its libraries need about one GiB, which is
left free here.
"""

from __future__ import annotations

import argparse

import torch
from transformers import CLIPModel

from mv_peft.training import estimate_memory

from .models import METHODS, SIZES, clip_config, make_batch

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}
LIBRARIES = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="B/16", help="size of the CLIP (default: B/16)")
    parser.add_argument("--batch-size", type=int, metavar="N", default=128, help="pairs of a batch (default: 128)")
    parser.add_argument("--num-frames", type=int, metavar="N", default=12, help="frames of a video (default: 12)")
    parser.add_argument("--gib", type=float, metavar="X", default=16, help="memory of the GPU (default: 16)")
    args = parser.parse_args()
    config = clip_config(args.size)
    pair = make_batch(config, 1, args.num_frames)
    available = args.gib * 2**30 - LIBRARIES
    batch = f"batch of {args.batch_size} x {args.num_frames} frames"
    print(f"{args.size}, {batch}, a GPU of {args.gib:g} GiB, torch {torch.__version__}")
    print(f"{'':18}{'':>11}{'a pair GiB':>12}{'batch at once GiB':>19}{'chunk that fits':>17}{'then GiB':>10}")
    for name, make in METHODS.items():
        model = make(CLIPModel(config))
        if not any(parameter.requires_grad for parameter in model.parameters()):
            continue
        for precision, dtype in PRECISIONS.items():
            for checkpointing in (False, True):
                if checkpointing:
                    model.gradient_checkpointing_enable({"use_reentrant": False})
                estimate = estimate_memory(model, pair, dtype)
                if checkpointing:
                    model.gradient_checkpointing_disable()
                fitting = [n for n in range(1, args.batch_size + 1) if estimate.total(args.batch_size, n) <= available]
                label = f"{precision}, ckpt" if checkpointing else precision
                print(
                    f"{name:18}{label:>11}{estimate.activations_per_pair / 2**30:12.2f}"
                    f"{estimate.total(args.batch_size, args.batch_size) / 2**30:19.1f}{max(fitting, default=0):17}"
                    f"{estimate.total(args.batch_size, max(fitting, default=0)) / 2**30:10.1f}"
                )


if __name__ == "__main__":
    main()
