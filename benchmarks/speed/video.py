"""Compare our reader with plain decord and plain PyAV, and a DataLoader with and without a cache.

    python -m benchmarks.speed.video                          # three rendered files, then 24 rendered clips
    python -m benchmarks.speed.video --videos DIR             # other mp4 files, for both tables
    python -m benchmarks.speed.video --output benchmarks/results/video.json

The first table has the CPU seconds for 12 frames, evenly over the file. The readers take turns, and medians count.
"Plain" is the obvious code: `decord.VideoReader(path).get_batch(indices)`, and decoding from the start with PyAV. Both
are given the indices that our reader has to work out by a pass over the packets. A ratio below 1 is cheaper than ours.
The second table has videos a second. `--output` writes both tables as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch  # before decord, see mv_peft/video/decord.py

import decord  # isort: skip
from torch.utils.data import DataLoader
from transformers import CLIPImageProcessor

from mv_peft.data import VideoCaptionCollator, VideoCaptionDataset, VideoRecord
from mv_peft.demo.pretrained import load_tiny_processor
from mv_peft.encoders import MVProcessor
from mv_peft.video import CacheSettings, VideoCache, build_cache, read_frames, sample_frames, write_video

from .cache import render

NUM_FRAMES = 12
Reader = Callable[[str, np.ndarray], np.ndarray]


def plain_decord(path: str, indices: np.ndarray) -> np.ndarray:
    """Read frames with decord."""
    return decord.VideoReader(path, num_threads=1).get_batch(indices).asnumpy()


def plain_pyav(path: str, indices: np.ndarray) -> np.ndarray:
    """Read frames with PyAV, by decoding from the start."""
    wanted, frames = set(indices.tolist()), []
    with av.open(path) as container:
        container.streams.video[0].thread_type = "NONE"
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
            if number == indices[-1]:
                break
    return np.stack(frames)


READERS: dict[str, Reader] = {
    "ours, PyAV": lambda path, indices: read_frames(path, NUM_FRAMES, "uniform").frames,
    "ours, decord": lambda path, indices: read_frames(path, NUM_FRAMES, "uniform", backend="decord").frames,
    "plain decord": plain_decord,
    "plain PyAV": plain_pyav,
}


def render_files(folder: Path) -> list[Path]:
    """Render a small, a large and a long file: a noisy plasma, enlarged by repeated pixels or by repeated frames."""
    (source,) = render(folder, num_clips=1)
    frames = read_frames(source, 250, "uniform").frames
    contents = {
        "10 s, 320 x 240": frames,
        "5 s, 960 x 720": frames[:125].repeat(3, axis=1).repeat(3, axis=2),
        "60 s, 320 x 240": np.tile(frames, (6, 1, 1, 1)),
    }
    for name, pictures in contents.items():
        write_video(folder / f"{name}.mp4", pictures, fps=25)
    source.unlink()
    return [folder / f"{name}.mp4" for name in contents]


def measure_decoders(paths: Sequence[Path], rounds: int) -> list[dict[str, Any]]:
    """Measure each reader on each file: CPU seconds, their ratio to ours, and whether the frames are exactly ours."""
    rows = []
    for path in paths:
        num_frames = len(decord.VideoReader(str(path)))
        indices = sample_frames(np.arange(num_frames) / 25, NUM_FRAMES, "uniform")
        frames = {name: read(str(path), indices) for name, read in READERS.items()}
        seconds: dict[str, list[float]] = {name: [] for name in READERS}
        for _ in range(rounds):
            for name, read in READERS.items():
                began = time.process_time()
                read(str(path), indices)
                seconds[name].append(time.process_time() - began)
        ours = seconds["ours, PyAV"]
        for name in READERS:
            rows.append(
                {
                    "file": path.stem,
                    "reader": name,
                    "cpu_seconds": statistics.median(seconds[name]),
                    "ratio": statistics.median(a / b for a, b in zip(seconds[name], ours, strict=True)),
                    "same_frames": bool(np.array_equal(frames[name], frames["ours, PyAV"])),
                }
            )
    return rows


def measure_loader(folder: Path, videos: Path, paths: Sequence[Path], least_seconds: float) -> list[dict[str, Any]]:
    """Measure a DataLoader: videos a second in batches of four, with CLIP's fast preprocessing to 224 pixels."""
    records = [VideoRecord(path.stem, path, ("a circle",)) for path in paths]
    processor = MVProcessor(CLIPImageProcessor(), load_tiny_processor().tokenizer, preprocessing="fast")
    sources: dict[str, Callable[..., Any]] = {"files": read_frames}
    for kind in ("jpeg", "uint8"):
        build_cache(folder / kind, videos, paths, CacheSettings(format=kind))
        sources[f"{kind} cache"] = VideoCache(folder / kind).read_frames
    rows = []
    for source, read in sources.items():
        dataset = VideoCaptionDataset(records, processor=processor, max_frames=NUM_FRAMES, read=read)
        for workers in (0, 1, 2):
            loader = DataLoader(
                dataset,
                batch_size=4,
                num_workers=workers,
                persistent_workers=workers > 0,
                collate_fn=VideoCaptionCollator(processor),
            )
            for _ in loader:  # the first round starts the workers and does not count
                pass
            began, count = time.perf_counter(), 0
            while time.perf_counter() - began < least_seconds:
                count += sum(len(batch["pixel_values"]) for batch in loader)
            rows.append(
                {
                    "source": source,
                    "workers": workers,
                    "videos_per_second": count / (time.perf_counter() - began),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, metavar="DIR", help="folder of mp4 files (default: rendered clips)")
    parser.add_argument(
        "--rounds", type=int, metavar="N", default=5, help="how often each reader is measured (default: 5)"
    )
    parser.add_argument(
        "--seconds", type=float, metavar="X", default=3.0, help="how long each loader is measured at least (default: 3)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file for both tables (default: none)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = sorted(args.videos.glob("*.mp4")) if args.videos else None
        (folder / "files").mkdir()
        decoders = measure_decoders(given or render_files(folder / "files"), args.rounds)
        clips = folder / "clips"
        clips.mkdir()
        loader = measure_loader(folder, args.videos or clips, given or render(clips), args.seconds)
    where = {"torch": torch.__version__, "av": av.__version__, "decord": decord.__version__, "cpu": platform.machine()}
    print(f"{'file':18}{'reader':14}{'CPU s':>8}{'ratio':>7}  same frames")
    for row in decoders:
        same = "yes" if row["same_frames"] else "NO"
        print(f"{row['file'][:17]:18}{row['reader']:14}{row['cpu_seconds']:8.3f}{row['ratio']:7.2f}  {same}")
    print(f"\n{'loader':14}{'workers':>8}{'videos/s':>10}")
    for row in loader:
        print(f"{row['source']:14}{row['workers']:8}{row['videos_per_second']:10.1f}")
    if args.output is not None:
        args.output.write_text(json.dumps({"versions": where, "decoders": decoders, "loader": loader}, indent=1) + "\n")


if __name__ == "__main__":
    main()
