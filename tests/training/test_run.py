"""What a run makes of its settings: steps, devices, and the memory that checkpointed activations need."""

from __future__ import annotations

import pytest
import torch

from mv_peft.training import RetrievalTrainingArguments, TrainSettings
from mv_peft.training.run import _arguments


@pytest.mark.parametrize(("epochs", "num_steps"), [(5, 500), (0.07, 7), (1.1, 110), (0.29, 29), (0.071, 8), (0.001, 1)])
def test_a_fraction_of_an_epoch_is_no_step_too_many(tmp_path, epochs, num_steps):
    arguments = _arguments(TrainSettings(tmp_path, epochs=epochs, batch_size=8), 805)
    assert arguments.max_steps == num_steps


def test_an_endless_training_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`epochs` must be finite, got inf."):
        TrainSettings(tmp_path, epochs=float("inf"))


def test_one_process_takes_one_gpu_of_several(tmp_path, monkeypatch):
    """Trainer would give each GPU a whole batch."""
    prepare = RetrievalTrainingArguments.__post_init__

    def with_four_gpus(self):
        prepare(self)
        self._n_gpu = 4

    monkeypatch.setattr(RetrievalTrainingArguments, "__post_init__", with_four_gpus)
    assert RetrievalTrainingArguments(str(tmp_path), use_cpu=True, per_device_train_batch_size=8).train_batch_size == 32
    assert _arguments(TrainSettings(tmp_path, batch_size=8), 85).train_batch_size == 8


def test_without_gpus_there_is_none(tmp_path):
    if torch.accelerator.is_available():
        pytest.skip("has a GPU")
    assert _arguments(TrainSettings(tmp_path, batch_size=8), 85).n_gpu == 0
