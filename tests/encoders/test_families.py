"""The table of encoders: what it says of a model holds in the model."""

from __future__ import annotations

import pytest
import torch

from mv_peft.encoders.families import DualEncoder

from ..families import FAMILIES, FIRST_WORD, TEXT_LENGTH, tiny_model


@pytest.mark.parametrize("name", FAMILIES)
def test_a_caption_of_the_most_tokens_is_embedded_and_a_longer_one_is_not(name):
    model = tiny_model(name).eval()
    text_config = model.config.text_config
    most = DualEncoder.of(model).max_text_tokens(text_config)
    assert most == TEXT_LENGTH
    tokens = torch.full((1, most + 1), FIRST_WORD)
    tokens[0, most - 1 :] = text_config.eos_token_id
    with torch.no_grad():
        assert model.get_text_features(tokens[:, :most]).pooler_output.isfinite().all()
        with pytest.raises((ValueError, RuntimeError, IndexError)):
            model.get_text_features(tokens)
