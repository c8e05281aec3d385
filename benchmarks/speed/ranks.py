"""Compare exact ranks in both directions with the bare matrix products that they need: time and memory.

    python -m benchmarks.speed.ranks                                        # 16,384 x 16,384, a minute or less
    python -m benchmarks.speed.ranks --queries 100000 --targets 100000
    python -m benchmarks.speed.ranks --queries 40000 --targets 1000         # 40 captions a video, as in MSVD
    python -m benchmarks.speed.ranks --noise inf                            # captions that say nothing of their videos

The products are those of the ranking: the same vectors in blocks of the same sizes, written to one buffer. The two
take turns in one process. The ratio is that of their sums, for wall-clock and for processor time; on a machine that
others use too, believe the latter, with one thread. Vectors are drawn: a caption is its video plus noise, and the
default of 10 makes retrieval hard. The number of threads is torch's (OMP_NUM_THREADS).
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.nn import functional as F

from mv_peft.retrieval import embedding_rank_counts, recall_at
from mv_peft.retrieval.exact_ranks import COLUMNS, ROWS


def draw(num_queries: int, num_targets: int, dim: int, noise: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw captions, videos, and the index of each caption's video; the captions are shared evenly among the videos."""
    generator = torch.Generator().manual_seed(0)
    video = F.normalize(torch.randn(num_targets, dim, generator=generator), dim=1)
    owners = torch.arange(num_queries) % num_targets
    text = torch.randn(num_queries, dim, generator=generator)
    if noise < float("inf"):
        text.mul_(noise * dim**-0.5).add_(video[owners])
    return F.normalize(text, dim=1), video, owners


def products(text: torch.Tensor, video: torch.Tensor) -> None:
    """Compute the products alone, one thread a block as in the ranking: torch's own threads wait for each other."""
    blocks, allowed = deque(text.split(ROWS)), torch.get_num_threads()

    def multiply() -> None:
        buffer = torch.empty(ROWS * COLUMNS)
        while blocks:
            try:
                rows = blocks.popleft()
            except IndexError:  # another thread was faster
                return
            for columns in video.split(COLUMNS):
                torch.mm(rows, columns.T, out=buffer[: len(rows) * len(columns)].view(len(rows), len(columns)))

    with ThreadPoolExecutor(allowed, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        for work in [threads.submit(multiply) for _ in range(allowed)]:
            work.result()
    torch.set_num_threads(allowed)


def seconds(work: Callable[[], object]) -> torch.Tensor:
    """Wall-clock and processor time of one call."""
    began = time.perf_counter(), time.process_time()
    work()
    return torch.tensor([time.perf_counter() - began[0], time.process_time() - began[1]])


def peak_mb() -> float:
    """The highest memory of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=16_384, metavar="N", help="captions (default: 16384)")
    parser.add_argument("--targets", type=int, default=16_384, metavar="N", help="videos (default: 16384)")
    parser.add_argument("--dim", type=int, default=512, metavar="N", help="width of the embeddings (default: 512)")
    parser.add_argument("--noise", type=float, default=10.0, metavar="X", help="noise of the captions (default: 10)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each is measured (default: 3)")
    args = parser.parse_args()
    if not 1 <= args.targets <= args.queries:
        parser.error(f"--targets must be 1 to {args.queries}, because each video has a caption; got {args.targets}")
    # A small ranking allocates the buffers of the library before the memory is measured.
    embedding_rank_counts(*draw(3 * ROWS, 3 * ROWS, args.dim, args.noise))
    text, video, owners = draw(args.queries, args.targets, args.dim, args.noise)
    before = peak_mb()
    t2v, v2t = embedding_rank_counts(text, video, owners)
    grown = peak_mb() - before
    bare, ranked = torch.zeros(2), torch.zeros(2)
    for _ in range(args.rounds):
        bare += seconds(lambda: products(text, video))
        ranked += seconds(lambda: embedding_rank_counts(text, video, owners))
    print(f"{args.queries:,} captions x {args.targets:,} videos, dim {args.dim}, {torch.get_num_threads()} thread(s)")
    print(f"t2v R@1 {recall_at(t2v.ranks(), 1):.1f}, v2t R@1 {recall_at(v2t.ranks(), 1):.1f}")
    print(f"{'':8} {'wall':>8} {'CPU':>8}")
    for label, spent in (("products", bare / args.rounds), ("ranks", ranked / args.rounds), ("ratio", ranked / bare)):
        print(f"{label:8} {spent[0]:8.2f} {spent[1]:8.2f}")
    matrix = 4 * args.queries * args.targets / 2**20
    print(f"memory   {grown:8.0f} MB besides the embeddings; the whole matrix would take {matrix:,.0f} MB")


if __name__ == "__main__":
    main()
