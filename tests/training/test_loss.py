"""The contrastive loss in one process."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from mv_peft.training import contrastive_loss, freeze_logit_scale
from tests.models import batch, tiny_clip
from tests.training.steps import adapted


def unit_vectors(*shape):
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def test_equals_its_definition():
    text, video, scale = unit_vectors(4, 6), unit_vectors(4, 6), torch.tensor(2.0, dtype=torch.float64)
    logits = math.exp(2.0) * text @ video.T
    rows = [-math.log(float(logits[i, i].exp() / logits[i].exp().sum())) for i in range(4)]
    columns = [-math.log(float(logits[i, i].exp() / logits[:, i].exp().sum())) for i in range(4)]
    assert sum(rows) != pytest.approx(sum(columns))
    assert float(contrastive_loss(text, video, scale)) == pytest.approx((sum(rows) + sum(columns)) / 8, rel=1e-12)


def test_equals_the_loss_of_transformers():
    model = adapted()
    with torch.no_grad():
        out = model(**batch(), return_loss=True)
        loss = contrastive_loss(out.text_embeds, out.image_embeds, model.logit_scale)
    torch.testing.assert_close(loss, out.loss)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_are_computed_in_float32(dtype):
    text, video = unit_vectors(8, 16).to(dtype), unit_vectors(8, 16).to(dtype)
    scale = torch.tensor(math.log(100))
    exact = contrastive_loss(text.double(), video.double(), scale.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = contrastive_loss(text, video, scale)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(3, 12), (4, 11), (4,)])
def test_a_video_for_each_caption(shape):
    with pytest.raises(ValueError, match=rf"one shape \(pairs, dim\), got \(4, 12\) and \({shape[0]},"):
        contrastive_loss(torch.zeros(4, 12), torch.zeros(shape), torch.tensor(1.0))


@pytest.mark.parametrize(("before", "after"), [(5.0, math.log(100)), (2.5, 2.5)])
def test_logit_scale_is_frozen_and_never_above_ln_100(before, after):
    model = tiny_clip()
    model.logit_scale.data.fill_(before)
    freeze_logit_scale(model)
    assert float(model.logit_scale) == pytest.approx(after)
    assert not model.logit_scale.requires_grad
