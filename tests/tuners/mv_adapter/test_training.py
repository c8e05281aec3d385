"""Training as people train: checkpointing, several forwards, threads, processes, autocast, compile, Trainer."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
import torch.multiprocessing as mp
from peft import PeftModel, get_peft_model
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer, TrainingArguments

from mv_peft import enable_video
from tests.models import adapter_config, batch, needs_transformers_5_6, tiny_clip


def adapted(**overrides):
    return get_peft_model(tiny_clip(), adapter_config(**overrides)).train()


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def assert_same_gradients(got, expected, **tolerances):
    assert got.keys() == expected.keys()
    assert sum(gradient.abs().sum() for gradient in expected.values()) > 0
    for name in expected:
        message = f"gradient of {name} differs"
        torch.testing.assert_close(got[name], expected[name], msg=message, **tolerances)


def plain_gradients(inputs):
    model = adapted()
    model(**inputs, return_loss=True).loss.backward()
    return gradients(model)


@pytest.mark.parametrize("use_reentrant", [pytest.param(True, marks=needs_transformers_5_6), False])
def test_gradient_checkpointing(use_reentrant):
    inputs = batch()
    model = adapted()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": use_reentrant})
    model(**inputs, return_loss=True).loss.backward()
    assert_same_gradients(gradients(model), plain_gradients(inputs))


@pytest.mark.parametrize("checkpointing", [None, pytest.param(True, marks=needs_transformers_5_6), False])
def test_two_forwards_in_flight(checkpointing):
    """Batches of different length: mixing up their masks would not even fit."""
    first, second = batch(), batch(videos=4, frames=3, seed=9)
    expected = plain_gradients(first)
    for name, gradient in plain_gradients(second).items():
        expected[name] += gradient
    model = adapted()
    if checkpointing is not None:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": checkpointing})
    losses = [model(**inputs, return_loss=True).loss for inputs in (first, second)]
    losses[0].backward()
    losses[1].backward()
    assert_same_gradients(gradients(model), expected, rtol=1e-4, atol=1e-6)


def test_backward_in_another_thread():
    inputs, model = batch(), adapted()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    loss = model(**inputs, return_loss=True).loss
    model(**batch(videos=1, frames=2))  # whatever this thread does in between
    thread = threading.Thread(target=loss.backward)
    thread.start()
    thread.join()
    assert_same_gradients(gradients(model), plain_gradients(inputs))


def test_threads_do_not_disturb_each_other():
    model = adapted().eval()
    batches = [batch(videos=1 + n % 3, frames=2 + n % 4, seed=n) for n in range(6)]
    with torch.no_grad():
        expected = [model(**inputs).logits_per_text for inputs in batches]
    results = [[] for _ in batches]

    def work(n):
        with torch.no_grad():
            for _ in range(10):
                results[n].append(model(**batches[n]).logits_per_text)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, wanted in zip(results, expected, strict=True):
        assert len(got) == 10
        assert all(torch.equal(one, wanted) for one in got)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    model, inputs = adapted(scaling=0.1), batch()
    with torch.no_grad():
        exact = model(**inputs).logits_per_text
    with torch.autocast("cpu", dtype=dtype):
        out = model(**inputs, return_loss=True)
    out.loss.backward()
    assert all(torch.isfinite(gradient).all() for gradient in gradients(model).values())
    torch.testing.assert_close(out.logits_per_text.float(), exact, rtol=0, atol=0.5)


@pytest.mark.parametrize("plain", [True, False])
def test_compile_without_a_graph_break(plain):
    model = enable_video(tiny_clip()) if plain else adapted().eval()
    inputs = batch()
    expected = model(**inputs, return_loss=True)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    got = compiled(**inputs, return_loss=True)
    torch.testing.assert_close(got.logits_per_text, expected.logits_per_text)
    if not plain:
        expected.loss.backward()
        reference = gradients(model)
        model.zero_grad()
        got.loss.backward()
        assert_same_gradients(gradients(model), reference, rtol=1e-4, atol=1e-6)


class GatheredLoss(nn.Module):
    """Two processes' loss over the joint batch, written for two processes."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, **inputs):
        out = self.model(**inputs)
        videos, captions = (
            torch.cat(torch.distributed.nn.functional.all_gather(x)) for x in (out.image_embeds, out.text_embeds)
        )
        logits = self.model.logit_scale.exp() * captions @ videos.T
        target = torch.arange(len(logits))
        return (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2


def ddp_worker(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    model = adapted()
    wrapped = DistributedDataParallel(GatheredLoss(model))
    inputs = {key: value[rank * 2 : rank * 2 + 2] for key, value in batch(videos=4).items()}
    wrapped(**inputs).backward()
    torch.save(gradients(model), f"{folder}/gradients{rank}.pt")
    torch.distributed.destroy_process_group()


def test_ddp_with_two_processes(tmp_path):
    mp.spawn(ddp_worker, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"gradients{rank}.pt") for rank in (0, 1))
    expected = plain_gradients(batch(videos=4))
    assert_same_gradients(first, expected, rtol=1e-4, atol=1e-6)
    assert_same_gradients(second, first, rtol=0, atol=0)


def collate(examples):
    return {**{key: torch.stack([e[key] for e in examples]) for key in examples[0]}, "return_loss": True}


def test_trainer_takes_the_model_as_it_is(tmp_path):
    inputs = batch(videos=8)
    examples = [{key: value[row] for key, value in inputs.items()} for row in range(8)]
    model = adapted(init_weights=True, scaling=1.0)
    base = copy.deepcopy(model.get_base_model().vision_model.encoder.layers[0].mlp.fc2.base_layer.weight)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=40,
        per_device_train_batch_size=8,
        learning_rate=3e-3,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,  # Transformers would take `frame_mask` for a column the model does not know
        use_cpu=True,
    )
    trainer = Trainer(model, arguments, train_dataset=examples, data_collator=collate)
    with torch.no_grad():
        before = float(model.eval()(**inputs, return_loss=True).loss)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    with torch.no_grad():
        after = model.eval()(**inputs, return_loss=True)
        loaded = PeftModel.from_pretrained(tiny_clip(), tmp_path / "saved").eval()(**inputs)
    assert after.loss < 0.7 * before
    torch.testing.assert_close(loaded.logits_per_text, after.logits_per_text, rtol=0, atol=1e-4)
    assert torch.equal(model.get_base_model().vision_model.encoder.layers[0].mlp.fc2.base_layer.weight, base)
