"""Whole evaluations: that of the authors' program, named protocols, labelled post-processing, tables that quote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file

from mv_peft import load_official_checkpoint
from mv_peft.data import BENCHMARKS, PublishedRow, VideoRecord
from mv_peft.errors import CheckpointError
from mv_peft.retrieval import (
    MULTI_CAPTION,
    PAIRS,
    PARAGRAPHS,
    PROTOCOLS,
    DualSoftmax,
    QueryBankNorm,
    RetrievalEmbeddings,
    benchmark_protocol,
    default_protocol,
    evaluate_embeddings,
    evaluate_retrieval,
    exact_similarity,
    format_result,
    retrieval_metrics,
)
from mv_peft.video import VideoFrames
from tests.retrieval.clips import adapted, processor, write_records
from tests.training.test_trajectory import bias_of_clip
from tests.tuners.mv_adapter.test_golden import GOLDEN, config_from_official, load_backbone


def embeddings(counts, dim=6, seed=0):
    """Embeddings of videos and of `counts` captions near each."""
    generator = torch.Generator().manual_seed(seed)
    owners = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    video = torch.nn.functional.normalize(torch.randn(len(counts), dim, generator=generator), dim=1)
    text = video[owners] + 0.6 * torch.randn(len(owners), dim, generator=generator)
    return RetrievalEmbeddings(
        text_embeds=torch.nn.functional.normalize(text, dim=1),
        video_embeds=video,
        video_of_caption=owners,
        video_ids=tuple(map(str, range(len(counts)))),
        captions=tuple(f"caption {number}" for number in range(len(owners))),
    )


def record(video, *captions):
    return VideoRecord(video, Path(f"{video}.mp4"), captions)


class Recorded:
    """A stand-in for `MVProcessor` that returns the recorded inputs of the authors' evaluation."""

    max_frames, frame_sampling, video_backend = 4, "uniform", "pyav"

    def __init__(self, recorded):
        self.recorded = recorded

    def __call__(self, text=None, videos=None):
        if text is not None:
            return {"input_ids": torch.stack([self.recorded["input_ids"][int(caption)] for caption in text])}
        rows = [int(video) for video in videos]
        return {name: self.recorded[name][rows] for name in ("pixel_values", "frame_mask")}

    def pixel_values(self, video):
        return torch.tensor(video.pts_seconds[0])


def test_the_evaluation_of_the_authors_program():
    folder, trajectory = GOLDEN / "_evaluate", GOLDEN / "_train_trajectory"
    meta = json.loads((folder / "meta.json").read_text())
    training = json.loads((trajectory / "meta.json").read_text())
    config = config_from_official({**training, "adapter_scale": {"video": 0.1, "text": 0.1}})
    model = get_peft_model(load_backbone(meta["backbone"]), config)
    trained = load_file(trajectory / "trainable_final_official.safetensors")
    for name in load_official_checkpoint(model, trained).backbone:
        bias_of_clip(model.get_base_model(), name).data.copy_(trained[name])

    recorded = load_file(folder / "evaluate.safetensors")
    owners = recorded["caption_video"].tolist()
    captions = [tuple(str(n) for n, owner in enumerate(owners) if owner == video) for video in range(7)]
    records = {
        "multi": [VideoRecord(str(video), Path(str(video)), said) for video, said in enumerate(captions)],
        "single": [VideoRecord(str(video), Path(str(video)), said[:1]) for video, said in enumerate(captions)],
    }

    def read(path, *args, **kwargs):
        return VideoFrames(torch.zeros(1, 1, 1, 3, dtype=torch.uint8).numpy(), torch.tensor([int(path.name)]).numpy())

    for name, protocol in (("multi", MULTI_CAPTION), ("single", PAIRS)):
        result = evaluate_retrieval(model, Recorded(recorded), records[name], batch_size=3, read=read, progress=False)
        assert result.protocol is protocol
        theirs = meta["results"][name]
        for direction in ("t2v", "v2t"):
            for k in (1, 5, 10):
                assert result.metrics[f"{direction} R@{k}"] == pytest.approx(theirs[f"{direction}_r{k}"])
            assert result.metrics[f"{direction} mean rank"] == pytest.approx(theirs[f"{direction}_mean"] + 1)


def test_from_videos_to_metrics(tmp_path):
    records = write_records(tmp_path, captions_each=2)
    result = evaluate_retrieval(adapted(), processor(), records, batch_size=2, progress=False)
    assert (result.num_videos, result.num_captions, result.label) == (5, 10, "multi-caption")
    assert set(result.metrics) == {
        f"{direction} {figure}"
        for direction in ("t2v", "v2t")
        for figure in ("R@1", "R@5", "R@10", "R@50", "median rank", "mean rank")
    }
    assert 1 < result.metrics["t2v mean rank"] < 5


def test_blocks_give_the_same_metrics_as_the_whole_matrix():
    for counts in ([1] * 40, [1, 5, 2, 2, 9, 1, 3]):
        ours = embeddings(counts)
        matrix = exact_similarity(ours.text_embeds, ours.video_embeds)
        for ties in ("strict", "optimistic", "clip4clip"):
            expected = retrieval_metrics(matrix, ties, video_of_caption=ours.video_of_caption)
            assert evaluate_embeddings(ours, ties=ties).metrics == expected
        assert 0 < expected["t2v R@1"] < 100


def test_every_benchmark_names_a_protocol_that_fits_its_test_split():
    assert [PROTOCOLS[name].name for name in PROTOCOLS] == ["pairs", "multi-caption", "paragraphs"]
    for name, benchmark in BENCHMARKS.items():
        test = benchmark.splits["test"]
        protocol = benchmark_protocol(name, "test", [record("a", "x")])
        assert protocol is PROTOCOLS[benchmark.protocol]
        assert (protocol is PARAGRAPHS) == test.paragraphs
        if not test.paragraphs:
            assert (protocol is MULTI_CAPTION) == (test.num_captions != test.num_videos)


def test_the_protocol_of_a_split(monkeypatch):
    one, several = [record("a", "x")], [record("a", "x", "y"), record("b", "z")]
    assert benchmark_protocol("didemo", "val", one) is PARAGRAPHS
    assert benchmark_protocol("didemo", "test-moments", one) is PAIRS
    assert benchmark_protocol("msvd", "test", one) is MULTI_CAPTION
    assert benchmark_protocol("msrvtt", "test", one) is PAIRS
    assert benchmark_protocol("msrvtt", "full-test", several) is MULTI_CAPTION
    assert default_protocol(one) is PAIRS
    assert default_protocol(several) is MULTI_CAPTION
    monkeypatch.setitem(BENCHMARKS, "msvd", replace(BENCHMARKS["msvd"], protocol="triples"))
    with pytest.raises(ValueError, match=r"Unknown protocol 'triples' of msvd. Choose from: multi-caption, pairs, par"):
        benchmark_protocol("msvd", "test", one)
    with pytest.raises(ValueError, match=r"Protocol 'pairs' takes one caption per video, but video 1 has 3"):
        evaluate_embeddings(embeddings([1, 3]), protocol=PAIRS)


def test_dual_softmax_is_applied_in_both_directions_and_labelled():
    ours = embeddings([1] * 30)
    matrix = exact_similarity(ours.text_embeds, ours.video_embeds)
    result = evaluate_embeddings(ours, post_processing=DualSoftmax())
    t2v, v2t = (retrieval_metrics(DualSoftmax().apply(one)) for one in (matrix, matrix.T))
    assert result.metrics["t2v mean rank"] == t2v["t2v mean rank"]
    assert result.metrics["v2t mean rank"] == v2t["t2v mean rank"]
    assert result.metrics != evaluate_embeddings(ours).metrics
    written = result.to_metrics_file().protocol
    assert written.name == "pairs + dual-softmax"
    assert written.post_processing == "dual-softmax"
    assert "2109.04290" in written.source
    assert "softmax over all test queries" in written.description
    assert "protocol: pairs + dual-softmax;" in format_result(result)


def test_query_bank_norm_uses_captions_as_the_bank_for_captions_and_videos_for_videos():
    ours, bank = embeddings([1, 3, 2, 2, 1, 4]), embeddings([2] * 20, seed=1)
    result = evaluate_embeddings(ours, post_processing=QueryBankNorm(), query_bank=bank)
    t2v = QueryBankNorm().apply(
        ours.text_embeds.double() @ ours.video_embeds.T.double(),
        bank.text_embeds.double() @ ours.video_embeds.T.double(),
    )
    v2t = QueryBankNorm().apply(
        ours.video_embeds.double() @ ours.text_embeds.T.double(),
        bank.video_embeds.double() @ ours.text_embeds.T.double(),
    )
    for direction, matrix in (("t2v", t2v), ("v2t", v2t.T)):
        expected = retrieval_metrics(matrix, video_of_caption=ours.video_of_caption)
        assert result.metrics[f"{direction} mean rank"] == expected[f"{direction} mean rank"]
    assert result.label == "multi-caption + qb-norm"


def test_a_query_bank_is_required_where_it_is_used_and_refused_elsewhere():
    ours = embeddings([1, 1])
    with pytest.raises(ValueError, match="`QueryBankNorm` needs a `query_bank`"):
        evaluate_embeddings(ours, post_processing=QueryBankNorm())
    with pytest.raises(ValueError, match="`query_bank` has no effect"):
        evaluate_embeddings(ours, post_processing=DualSoftmax(), query_bank=ours)


def test_ties_are_labelled_and_unknown_ties_are_refused_before_any_video_is_read():
    assert evaluate_embeddings(embeddings([1, 1]), ties="clip4clip").label == "pairs, clip4clip ties"
    with pytest.raises(ValueError, match="Unknown ties 'lenient'"):
        evaluate_retrieval(SimpleNamespace(), SimpleNamespace(), [record("a", "x")], ties="lenient")


def test_the_table_quotes_the_published_figures():
    result = evaluate_embeddings(embeddings([1] * 60))
    table = format_result(result, "mine", published="msrvtt")
    lines = [line.split() for line in table.splitlines()]
    assert lines[1] == [
        "mine",
        *(f"{result.metrics[f't2v {name}']:.1f}" for name in ("R@1", "R@5", "R@10", "R@50")),
    ] + [f"{result.metrics[f't2v {name}']:.1f}" for name in ("median rank", "mean rank")]
    assert ["MV-Adapter", "[quoted]", "46.2", "73.2", "82.7", "-", "-", "-"] in lines
    assert ["full", "fine-tuning", "[quoted]", "45.3", "73.4", "83.7", "-", "-", "-"] in lines
    assert "[quoted] was not measured here: arXiv 2301.07868" in table
    assert "quoted" not in format_result(result, "mine")
    assert "quoted" not in format_result(result, "mine", published="vatex")
    assert not BENCHMARKS["vatex"].published


def test_figures_of_several_papers_are_quoted_with_their_sources(monkeypatch):
    rows = (*BENCHMARKS["msvd"].published, PublishedRow("CLIP4Clip", (46.2, 76.1, 84.6), (62.0, 87.3, 92.6), "a paper"))
    monkeypatch.setitem(BENCHMARKS, "msvd", replace(BENCHMARKS["msvd"], published=rows))
    table = format_result(evaluate_embeddings(embeddings([1] * 60)), published="msvd")
    assert table.count("[quoted] was not measured here: arXiv 2301.07868, CLIP ViT-B/16, mean over three seeds.") == 1
    assert table.count("[quoted] was not measured here: a paper.") == 1


def test_saved_embeddings_load_bit_for_bit(tmp_path):
    ours = embeddings([1, 3, 2])
    ours.save(tmp_path / "new" / "folder")
    loaded = RetrievalEmbeddings.load(tmp_path / "new" / "folder")
    for name in ("text_embeds", "video_embeds", "video_of_caption"):
        assert torch.equal(getattr(loaded, name), getattr(ours, name))
    assert (loaded.video_ids, loaded.captions, loaded.skipped) == (ours.video_ids, ours.captions, ())
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "embeddings.json",
        "embeddings.safetensors",
    ]


def test_embeddings_that_do_not_fit_each_other_are_refused(tmp_path):
    embeddings([1, 3]).save(tmp_path)
    names = (tmp_path / "embeddings.json").read_text()
    (tmp_path / "embeddings.json").write_text(names.replace('"caption 3"', '"caption 3", "more"'))
    with pytest.raises(CheckpointError, match=r"Cannot read embeddings in .*`text_embeds` must have 5 rows"):
        RetrievalEmbeddings.load(tmp_path)
    (tmp_path / "embeddings.json").write_text("{}")
    with pytest.raises(CheckpointError, match="Cannot read embeddings in .*video_ids"):
        RetrievalEmbeddings.load(tmp_path)
    with pytest.raises(CheckpointError, match="Cannot read embeddings in .*nowhere"):
        RetrievalEmbeddings.load(tmp_path / "nowhere")
