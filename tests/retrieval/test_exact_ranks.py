"""Ranks counted block by block equal those of the whole matrix, exactly, with as many ties as possible."""

from __future__ import annotations

import pytest
import torch

from mv_peft.retrieval import embedding_rank_counts, exact_ranks, exact_similarity
from mv_peft.retrieval.metrics import similarity_rank_counts


def unit(rows, dim, generator):
    return torch.nn.functional.normalize(torch.randn(rows, dim, generator=generator), dim=1)


def whole_numbers(rows, dim, generator):
    """Vectors of few values, whose products are exact and mostly tied."""
    return torch.randint(-1, 2, (rows, dim), generator=generator).float()


def copies(rows, dim, generator):
    """Vectors of which a third are the same."""
    vectors = unit(rows, dim, generator)
    vectors[::3] = vectors[0].clone()
    return vectors


def slow_scores(text, video):
    """Score every pair separately."""
    rows = torch.arange(len(text)).repeat_interleave(len(video))
    columns = torch.arange(len(video)).repeat(len(text))
    return exact_ranks._dot(text, video, rows, columns).view(len(text), len(video))


def assert_same_counts(got, expected):
    for ours, theirs in zip(got, expected, strict=True):
        assert torch.equal(ours.higher, theirs.higher)
        assert torch.equal(ours.tied, theirs.tied)


@pytest.mark.parametrize("embeds", [unit, whole_numbers, copies])
@pytest.mark.parametrize("several", [False, True])
def test_counts_equal_those_of_the_whole_matrix(embeds, several):
    generator = torch.Generator().manual_seed(0)
    most_tied = 0
    for num_videos in (1, 2, 13, 40, 41):
        counts = torch.randint(1, 5, (num_videos,), generator=generator) if several else torch.ones(num_videos).long()
        owners = torch.arange(num_videos).repeat_interleave(counts)
        owners = owners[torch.randperm(len(owners), generator=generator)]
        text, video = embeds(len(owners), 7, generator), embeds(num_videos, 7, generator)
        scores = slow_scores(text, video)
        expected = similarity_rank_counts(scores, scores.T, owners)
        most_tied = max(most_tied, int(expected[0].tied.max()), int(expected[1].tied.max()))
        for rows, columns in ((1, 1), (5, 6), (64, 8), (1024, 2048)):
            assert_same_counts(embedding_rank_counts(text, video, owners, rows=rows, columns=columns), expected)
    assert (most_tied > 1) == (embeds is not unit)


def test_equal_vectors_are_tied_in_every_row_and_column():
    """In blocks of odd sizes the float32 product rounds them differently."""
    generator = torch.Generator().manual_seed(1)
    text, video = unit(1, 512, generator).expand(90, -1), unit(1, 512, generator).expand(90, -1)
    for rows, columns in ((13, 7), (7, 1), (90, 90)):
        t2v, v2t = embedding_rank_counts(text.contiguous(), video.contiguous(), rows=rows, columns=columns)
        assert t2v.tied.tolist() == v2t.tied.tolist() == [90] * 90
        assert t2v.higher.sum() == v2t.higher.sum() == 0


def test_captions_belong_to_videos_in_order_by_default():
    generator = torch.Generator().manual_seed(2)
    text, video = unit(30, 16, generator), unit(30, 16, generator)
    assert_same_counts(embedding_rank_counts(text, video), embedding_rank_counts(text, video, torch.arange(30)))
    assert embedding_rank_counts(text, video)[0].higher.sum() > 0
    with pytest.raises(ValueError, match="30 captions of 29 videos"):
        embedding_rank_counts(text, video[:29])


def test_threads_change_no_count_and_their_number_is_restored():
    generator = torch.Generator().manual_seed(6)
    owners = torch.arange(60).repeat_interleave(torch.randint(1, 5, (60,), generator=generator))
    text, video = copies(len(owners), 32, generator), copies(60, 32, generator)
    allowed, expected = torch.get_num_threads(), embedding_rank_counts(text, video, owners, rows=7, columns=16)
    try:
        torch.set_num_threads(3)
        assert_same_counts(embedding_rank_counts(text, video, owners, rows=7, columns=16), expected)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(allowed)


def test_embeddings_of_other_lengths_than_one():
    generator = torch.Generator().manual_seed(3)
    text, video = 1000 * unit(50, 64, generator), torch.rand(50, 1, generator=generator) * unit(50, 64, generator)
    scores = slow_scores(text, video)
    assert_same_counts(embedding_rank_counts(text, video), similarity_rank_counts(scores, scores.T, torch.arange(50)))


def test_scores_that_differ_by_less_than_float32_resolves_are_told_apart():
    text = torch.tensor([[1.0, 1.0, 2.0**-14], [1.0, 1.0, 2.0**-14]])
    video = torch.tensor([[2.0**12, 0.0, 2.0**-13], [2.0**12, 0.0, 2.0**-14]])
    assert (text @ video.T).unique().numel() == 1
    t2v, _ = embedding_rank_counts(text, video)
    assert t2v.higher.tolist() == [0, 1]
    assert t2v.tied.tolist() == [1, 1]


def test_products_are_float32_even_if_less_precise_ones_are_allowed(monkeypatch):
    seen = set()

    def product(*args, **kwargs):
        seen.add(torch.get_float32_matmul_precision())
        return torch.matmul(*args, **kwargs)

    monkeypatch.setattr(torch, "mm", product)
    allowed = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        embedding_rank_counts(torch.eye(5), torch.eye(5))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(allowed)
    assert seen == {"highest"}


def test_exact_similarity_is_exact_and_the_same_in_every_row_and_column():
    generator = torch.Generator().manual_seed(5)
    text, video = copies(60, 512, generator), copies(33, 512, generator)
    similarity = exact_similarity(text, video)
    assert (similarity - slow_scores(text, video)).abs().max() < 1e-12
    assert similarity[::3, ::3].unique().numel() == 1
    assert similarity.unique().numel() > 100
    assert torch.equal(exact_similarity(text[5:6], video[7:8]), similarity[5:6, 7:8])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_with_their_row(wrong):
    text, video = torch.eye(3), torch.eye(3)
    video[2, 1] = wrong
    with pytest.raises(ValueError, match="`video_embeds` contains NaN or infinity in 1 rows, first in row 2"):
        embedding_rank_counts(text, video)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (torch.zeros(3), r"`text_embeds` must be float32 of shape \(rows, dim\), got torch.float32 \(3,\)"),
        (torch.zeros(3, 4).double(), "got torch.float64"),
        (torch.zeros(3, 5), "the same dim, got 5 and 4"),
    ],
)
def test_shapes_are_checked(text, message):
    with pytest.raises(ValueError, match=message):
        embedding_rank_counts(text, torch.zeros(3, 4))
