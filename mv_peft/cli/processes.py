"""Of the processes that torchrun started, one says what went wrong."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

_PATIENCE = timedelta(seconds=10)


def another_has_spoken() -> bool:
    """Whether another process has told its error; if none has, this one does from now on.

    The first error is the cause: it breaks the connection of those that wait for that process, or is theirs as well.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return False  # one process, or several without a store that outlives them
    from torch import distributed

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store: Any = distributed.TCPStore(address, port, is_master=False, timeout=_PATIENCE)  # type: ignore[attr-defined]
        return bool(store.add(f"mv_peft/errors/{os.environ['TORCHELASTIC_RESTART_COUNT']}", 1) > 1)
    except RuntimeError:  # torchrun has gone
        return False
