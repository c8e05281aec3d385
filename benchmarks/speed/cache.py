"""Compare reading videos from files and from frame caches with a training step, in videos a second.

    python -m benchmarks.speed.cache                          # 24 rendered clips of 10 s, 320 x 240
    python -m benchmarks.speed.cache --videos DIR             # other mp4 files

Each reader returns 12 frames by `fps_uniform`, alone and with CLIP's fast preprocessing to 224 pixels. The training
step is that of MV-Adapter on a ViT-B/32 of random weights with two videos a batch. Reading is no bottleneck if it is
much faster than the step.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from peft import get_peft_model
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from mv_peft import MVAdapterConfig
from mv_peft.encoders.pixels import FramePreprocessor
from mv_peft.video import CacheSettings, VideoCache, VideoFrames, build_cache, read_frames, write_video

from .models import make_batch


def render(folder: Path, num_clips: int = 24) -> list[Path]:
    """Render clips of a drifting plasma with noise, which are as hard on a codec as real clips."""
    generator = np.random.default_rng(0)
    down, across = np.mgrid[0:240, 0:320] / 40
    paths = []
    for number in range(num_clips):
        speed = generator.uniform(0.01, 0.05, size=3)
        phases = speed * np.arange(250)[:, None]
        frames = np.stack(
            [np.sin(across + p[0] * 7) + np.sin(down + p[1] * 5) + np.sin(across + down + p[2]) for p in phases]
        )
        noise = generator.normal(0, 0.1, frames.shape)
        pixels = ((frames + noise + 3) * 42).clip(0, 255).astype(np.uint8)[..., None] * np.array([1, 1, 1], np.uint8)
        paths.append(folder / f"{number:02}.mp4")
        write_video(paths[-1], pixels, fps=25)
    return paths


def per_second(work: Callable[[Path], object], paths: Sequence[Path], least_seconds: float) -> float:
    """Calls a second, one for each path in turn; the first round does not count."""
    for path in paths:
        work(path)
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < least_seconds:
        for path in paths:
            work(path)
        calls += len(paths)
    return calls / (time.perf_counter() - began)


def videos_per_step_second(least_seconds: float) -> float:
    """Videos a second in a training step of MV-Adapter: ViT-B/32, 12 frames, two videos a batch."""
    model = get_peft_model(CLIPModel(CLIPConfig()), MVAdapterConfig()).train()
    batch = make_batch(CLIPConfig(), 2, 12)

    def step(_: Path) -> None:
        model(**batch, return_loss=True).loss.backward()

    return 2 * per_second(step, [Path()], least_seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, metavar="DIR", help="folder of mp4 files (default: rendered clips)")
    parser.add_argument(
        "--seconds", type=float, metavar="X", default=3.0, help="how long each is measured at least (default: 3)"
    )
    args = parser.parse_args()
    preprocess = FramePreprocessor(CLIPImageProcessor(), "fast")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = args.videos or folder
        paths = sorted(args.videos.glob("*.mp4")) if args.videos else render(folder)
        readers: dict[str, tuple[Callable[..., VideoFrames], int]] = {
            "files": (read_frames, sum(path.stat().st_size for path in paths))
        }
        for format in ("jpeg", "uint8"):
            build_cache(folder / format, videos, paths, CacheSettings(format=format))
            size = (folder / format / "data.bin").stat().st_size
            readers[f"cache, {format}"] = (VideoCache(folder / format).read_frames, size)
        print(f"{len(paths)} videos, {torch.get_num_threads()} thread(s)\n")
        print(f"{'':14}{'videos/s':>10}{'with preprocessing':>20}{'MB':>8}")
        for label, (read, size) in readers.items():
            alone = per_second(lambda path, read=read: read(path, 12, "fps_uniform"), paths, args.seconds)
            both = per_second(
                lambda path, read=read: preprocess(read(path, 12, "fps_uniform").frames), paths, args.seconds
            )
            print(f"{label:14}{alone:10.1f}{both:20.1f}{size / 1e6:8.1f}")
        trained = videos_per_step_second(args.seconds)
        print(f"\na training step of MV-Adapter, ViT-B/32, random weights: {trained:.2f} videos/s")


if __name__ == "__main__":
    main()
