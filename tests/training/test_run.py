"""What a run makes of its settings: steps, devices, and the memory that checkpointed activations need."""

from __future__ import annotations

import pytest
import torch

from mv_peft.errors import TrainingError
from mv_peft.runs.files import METRICS_FILE
from mv_peft.runs.metrics_file import BaseModelFacts
from mv_peft.training import RetrievalTrainingArguments, TrainSettings
from mv_peft.training.run import _arguments
from mv_peft.training.run_file import RunFacts, begin_run, write_run


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


# Eight pairs in a step; what the training was begun with, and how many pairs that were at a time.
@pytest.mark.parametrize(("begun", "planned", "num_processes"), [("auto", 3, 1), (3, 3, 1), (100, 8, 1), (100, 4, 2)])
def test_resumed_it_embeds_as_many_pairs_at_a_time(tmp_path, begun, planned, num_processes):
    facts = RunFacts("custom", "mv_adapter", BaseModelFacts(), "train", "validation")
    plan = {"chunk_size": planned, "num_processes": num_processes}
    write_run(TrainSettings(tmp_path, batch_size=8, chunk_size=begun), facts, {}, plan=plan, configuration={})
    (tmp_path / METRICS_FILE).touch()

    def resume(chunk_size):
        return begin_run(TrainSettings(tmp_path, batch_size=8, chunk_size=chunk_size), facts, {}, resume=True)

    for same in ("auto", begun, planned):
        assert resume(same)["plan"] == plan
    with pytest.raises(TrainingError, match=rf"holds another training \(chunk_size: {planned}, now 2\)\. Resume it"):
        resume(2)
