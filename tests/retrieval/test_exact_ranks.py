"""Places counted block by block equal those of the whole matrix, exactly, with as many ties as there can be."""

from __future__ import annotations

import pytest
import torch

from mv_peft.retrieval import embedding_places, exact_similarity
from mv_peft.retrieval import exact_ranks as blockwise
from mv_peft.retrieval.metrics import similarity_places


def unit(rows, dim, generator):
    return torch.nn.functional.normalize(torch.randn(rows, dim, generator=generator), dim=1)


def whole_numbers(rows, dim, generator):
    """Few values: products are exact, and mostly tied."""
    return torch.randint(-1, 2, (rows, dim), generator=generator).float()


def copies(rows, dim, generator):
    """A third of the vectors are one and the same."""
    vectors = unit(rows, dim, generator)
    vectors[::3] = vectors[0].clone()
    return vectors


def slow_scores(text, video):
    """Every pair scored alone."""
    rows = torch.arange(len(text)).repeat_interleave(len(video))
    columns = torch.arange(len(video)).repeat(len(text))
    return blockwise._dot(text, video, rows, columns).view(len(text), len(video))


def assert_same_places(got, expected):
    for ours, theirs in zip(got, expected, strict=True):
        assert torch.equal(ours.nearer, theirs.nearer)
        assert torch.equal(ours.level, theirs.level)


@pytest.mark.parametrize("embeds", [unit, whole_numbers, copies])
@pytest.mark.parametrize("several", [False, True])
def test_equal_to_the_whole_matrix(embeds, several):
    generator = torch.Generator().manual_seed(0)
    most_level = 0
    for num_videos in (1, 2, 13, 40, 41):
        counts = torch.randint(1, 5, (num_videos,), generator=generator) if several else torch.ones(num_videos).long()
        owners = torch.arange(num_videos).repeat_interleave(counts)
        owners = owners[torch.randperm(len(owners), generator=generator)]
        text, video = embeds(len(owners), 7, generator), embeds(num_videos, 7, generator)
        scores = slow_scores(text, video)
        expected = similarity_places(scores, scores.T, owners)
        most_level = max(most_level, int(expected[0].level.max()), int(expected[1].level.max()))
        for rows, columns in ((1, 1), (5, 6), (64, 8), (1024, 2048)):
            assert_same_places(embedding_places(text, video, owners, rows=rows, columns=columns), expected)
    assert (most_level > 1) == (embeds is not unit)


def test_equal_vectors_are_level_wherever_they_stand():
    """In blocks of odd sizes this product rounds them differently."""
    generator = torch.Generator().manual_seed(1)
    text, video = unit(1, 512, generator).expand(90, -1), unit(1, 512, generator).expand(90, -1)
    for rows, columns in ((13, 7), (7, 1), (90, 90)):
        t2v, v2t = embedding_places(text.contiguous(), video.contiguous(), rows=rows, columns=columns)
        assert t2v.level.tolist() == v2t.level.tolist() == [90] * 90
        assert t2v.nearer.sum() == v2t.nearer.sum() == 0


def test_pairs_without_saying_which():
    generator = torch.Generator().manual_seed(2)
    text, video = unit(30, 16, generator), unit(30, 16, generator)
    assert_same_places(embedding_places(text, video), embedding_places(text, video, torch.arange(30)))
    assert embedding_places(text, video)[0].nearer.sum() > 0
    with pytest.raises(ValueError, match="30 captions of 29 videos"):
        embedding_places(text, video[:29])


def test_threads_change_nothing_and_are_as_many_as_before():
    generator = torch.Generator().manual_seed(6)
    owners = torch.arange(60).repeat_interleave(torch.randint(1, 5, (60,), generator=generator))
    text, video = copies(len(owners), 32, generator), copies(60, 32, generator)
    allowed, expected = torch.get_num_threads(), embedding_places(text, video, owners, rows=7, columns=16)
    try:
        torch.set_num_threads(3)
        assert_same_places(embedding_places(text, video, owners, rows=7, columns=16), expected)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(allowed)


def test_lengths_other_than_one():
    generator = torch.Generator().manual_seed(3)
    text, video = 1000 * unit(50, 64, generator), torch.rand(50, 1, generator=generator) * unit(50, 64, generator)
    scores = slow_scores(text, video)
    assert_same_places(embedding_places(text, video), similarity_places(scores, scores.T, torch.arange(50)))


def test_what_float32_cannot_tell_apart_is_told_apart():
    """Two videos whose dot products differ by less than float32 resolves: the nearer one is first."""
    text = torch.tensor([[1.0, 1.0, 2.0**-14], [1.0, 1.0, 2.0**-14]])
    video = torch.tensor([[2.0**12, 0.0, 2.0**-13], [2.0**12, 0.0, 2.0**-14]])
    assert (text @ video.T).unique().numel() == 1
    t2v, _ = embedding_places(text, video)
    assert t2v.nearer.tolist() == [0, 1]
    assert t2v.level.tolist() == [1, 1]


def test_allowing_fast_products_changes_nothing(monkeypatch):
    seen = set()

    def product(*args, **kwargs):
        seen.add(torch.get_float32_matmul_precision())
        return torch.matmul(*args, **kwargs)

    monkeypatch.setattr(torch, "mm", product)
    allowed = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        embedding_places(torch.eye(5), torch.eye(5))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(allowed)
    assert seen == {"highest"}


def test_exact_similarity_is_exact_and_the_same_everywhere():
    generator = torch.Generator().manual_seed(5)
    text, video = copies(60, 512, generator), copies(33, 512, generator)
    similarity = exact_similarity(text, video)
    assert (similarity - slow_scores(text, video)).abs().max() < 1e-12
    assert similarity[::3, ::3].unique().numel() == 1
    assert similarity.unique().numel() > 100
    assert torch.equal(exact_similarity(text[5:6], video[7:8]), similarity[5:6, 7:8])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_named(wrong):
    text, video = torch.eye(3), torch.eye(3)
    video[2, 1] = wrong
    with pytest.raises(ValueError, match="`video_embeds` holds NaN or infinity in 1 rows, first in row 2"):
        embedding_places(text, video)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (torch.zeros(3), r"`text_embeds` must be float32 of shape \(rows, dim\), got torch.float32 \(3,\)"),
        (torch.zeros(3, 4).double(), "got torch.float64"),
        (torch.zeros(3, 5), "one dim, got 5 and 4"),
    ],
)
def test_shapes_are_checked(text, message):
    with pytest.raises(ValueError, match=message):
        embedding_places(text, torch.zeros(3, 4))
