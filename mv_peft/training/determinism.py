"""The same numbers in every run on the same machine."""

from __future__ import annotations

import os

import torch


def use_deterministic_algorithms() -> None:
    """Make torch choose algorithms that give the same bits each time, for the rest of the process.

    On a GPU, call it before anything is computed there. An operation that has no such algorithm warns, and computes.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
