"""Two gloo processes do what one does with the joint batch, plain and cached, in equal shares and not."""

from __future__ import annotations

import pytest
import torch
from torch import distributed, multiprocessing
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from mv_peft.training import cached_step, gather_with_grad, pair_loss
from tests import families
from tests.models import batch
from tests.training.steps import adapted, assert_same_gradients, gradients, plain_step

PAIRS = 5
SHARES = {"almost equal": (3, 2), "unequal": (4, 1)}
FAMILIES = ("clip", "siglip")  # a softmax over the joint batch, and a sigmoid of each pair with a bias
STEPS = {
    "plain": plain_step,
    "cached": lambda model, inputs: cached_step(model, inputs, pair_loss(model), chunk_size=1),
    "cached, chunks of two": lambda model, inputs: cached_step(model, inputs, pair_loss(model), chunk_size=2),
}


def joint_batch(family="clip"):
    if family == "clip":
        return batch(videos=PAIRS, frames=6)
    return families.batch(family, videos=PAIRS, frames=6)


def ddp_step(rank, share, step, family):
    """Loss and gradients of two steps of one process, and how often gradients were exchanged."""
    start = sum(share[:rank])
    inputs = {name: rows[start : start + share[rank]] for name, rows in joint_batch(family).items()}
    model = DistributedDataParallel(adapted(family))
    exchanges = []

    def counted(group, bucket):
        exchanges.append(bucket.index())
        return allreduce_hook(group, bucket)

    model.register_comm_hook(distributed.group.WORLD, counted)
    results = []
    for _ in range(2):
        model.zero_grad()
        results.append((step(model, inputs), gradients(model.module)))
    return {"steps": results, "exchanges": exchanges}


def gathered(rank):
    """What `gather_with_grad` gives, and the gradient of a loss that differs between the processes."""
    rows = torch.full((rank + 1, 2), float(rank), requires_grad=True)
    joined = gather_with_grad(rows)
    weights = torch.arange(6.0).reshape(3, 2)
    ((rank + 1) * weights * joined).sum().backward()
    return joined.detach(), rows.grad


def worker(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    results = {
        (family, share, name): ddp_step(rank, SHARES[share], STEPS[name], family)
        for family in FAMILIES
        for share in SHARES
        for name in STEPS
    }
    torch.save({"gathered": gathered(rank), **results}, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(worker, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", STEPS)
def test_equal_one_process_with_the_joint_batch(processes, share, name, family):
    model = adapted(family)
    loss = plain_step(model, joint_batch(family))
    for process in processes:
        for its_loss, its_gradients in process[family, share, name]["steps"]:
            torch.testing.assert_close(its_loss, loss, rtol=0, atol=1e-6 if family == "clip" else 1e-5)
            assert_same_gradients(its_gradients, gradients(model), tolerance=1e-6)


@pytest.mark.parametrize("share", SHARES)
def test_gradients_are_exchanged_once_a_step(processes, share):
    for process in processes:
        assert process["clip", share, "plain"]["exchanges"]
        for name in STEPS:
            assert process["clip", share, name]["exchanges"] == process["clip", share, "plain"]["exchanges"]


def test_gather_with_grad(processes):
    for rank, process in enumerate(processes):
        joined, gradient = process["gathered"]
        assert joined.tolist() == [[0, 0], [1, 1], [1, 1]]
        weights = torch.arange(6.0).reshape(3, 2)  # times 1 from the first process, times 2 from the second
        assert torch.equal(gradient, 3 * (weights[:1], weights[1:])[rank])


def test_one_process_gathers_nothing():
    rows = torch.ones(2, 3)
    assert gather_with_grad(rows) is rows
