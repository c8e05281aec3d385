"""Two gloo processes encode and measure what one does, to the bit, and fail together."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import distributed, multiprocessing

from mv_peft.data import VideoRecord
from mv_peft.errors import VideoDecodeError
from mv_peft.retrieval import embed_records, encode_video_stream, encode_videos, evaluate_embeddings
from tests.retrieval.clips import adapted, processor, write_records

BATCH_SIZES = (1, 2, 3, 10)  # five videos: 3 + 2 batches, 2 + 1, 1 + 1, and none for the second process


def embed(records, batch_size, on_error="raise"):
    return embed_records(adapted(), processor(), records, batch_size=batch_size, on_error=on_error, progress=False)


def failure(records):
    try:
        embed(records, batch_size=2)
    except VideoDecodeError as error:
        return str(error)


def encode_lazily(records):
    paths = (record.path for record in records)
    return encode_videos(adapted(), processor(), paths, batch_size=2, on_error="skip", progress=False)


def stream(records, lazily):
    paths = [record.path for record in records]
    paths = iter(paths) if lazily else paths
    return list(encode_video_stream(adapted(), processor(), paths, batch_size=2, progress=False))


def with_broken(records):
    folder = records[0].path.parent
    return [*records[:3], VideoRecord("broken", folder / "broken.mp4", ("lost",)), *records[3:]]


def worker(rank, folder, records):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    results = {size: dataclasses.asdict(embed(records, size)) for size in BATCH_SIZES}
    results["skipped"] = dataclasses.asdict(embed(with_broken(records), 2, "skip"))
    results["failure"] = failure(with_broken(records))
    results["lazily"] = dataclasses.asdict(encode_lazily(with_broken(records)))
    results["streams"] = [[part.indices for part in stream(records, lazily)] for lazily in (False, True)]
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    (folder / "broken.mp4").write_bytes(b"no video at all")
    return write_records(folder, captions_each=2)


@pytest.fixture(scope="module")
def processes(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(worker, args=(str(folder), records), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def assert_same(got, expected):
    for name, value in dataclasses.asdict(expected).items():
        same = torch.equal(got[name], value) if isinstance(value, torch.Tensor) else got[name] == value
        assert same, name


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_equal_to_one_process(processes, records, batch_size):
    expected = embed(records, batch_size)
    for process in processes:
        assert_same(process[batch_size], expected)
    metrics = evaluate_embeddings(expected).metrics
    assert evaluate_embeddings(type(expected)(**processes[1][batch_size])).metrics == metrics
    assert metrics["t2v mean rank"] > 1


def test_skipped_videos(processes, records):
    for process in processes:
        assert_same(process["skipped"], embed(with_broken(records), 2, "skip"))
        assert process["skipped"]["skipped"] == ("broken",)


def test_videos_that_come_one_by_one_are_shared_too(processes, records):
    expected = encode_lazily(with_broken(records))
    assert (expected.indices, list(expected.failures)) == ((0, 1, 2, 4, 5), [3])
    for process in processes:
        assert_same(process["lazily"], expected)


def test_each_process_streams_its_share(processes):
    assert processes[0]["streams"] == [[(0, 1), (4,)]] * 2
    assert processes[1]["streams"] == [[(2, 3)]] * 2


def test_both_fail_with_the_reason_of_the_one_that_read(processes, records):
    assert "broken.mp4" in failure(with_broken(records))
    for process in processes:
        assert process["failure"] == failure(with_broken(records))
