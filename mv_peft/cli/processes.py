"""Errors under torchrun, where one process reports what went wrong and the others keep quiet."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

_PATIENCE = timedelta(seconds=10)


def another_has_spoken() -> bool:
    """Tell whether another process has reported its error. If none has, this one counts as the first from now on.

    The first error is the cause of the others: it breaks the connection of the processes that wait for that one, or it
    is theirs as well.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return False  # one process, or several without a store that outlives them
    from torch import distributed  # heavy, and needed here only

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store: Any = distributed.TCPStore(address, port, is_master=False, timeout=_PATIENCE)  # type: ignore[attr-defined]
        return bool(store.add(f"mv_peft/errors/{os.environ['TORCHELASTIC_RESTART_COUNT']}", 1) > 1)
    except RuntimeError:  # torchrun has gone
        return False
