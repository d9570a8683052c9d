"""Tell all processes of a run what the first one decided, before torch connects them."""

import datetime
import json
import os
from collections.abc import Callable
from typing import Any

from torch.distributed import TCPStore

from snntrain.error import UsageError
from snntrain.run.parallel.devices import in_group, is_first

_PATIENCE = datetime.timedelta(minutes=10)
_KEY = "snntrain/decided"

_kept: list[TCPStore] = []  # torch's process group uses the server of the first process's store, too


def agree(decide: Callable[[], Any]) -> Any:
    """Let the first process decide, and return in all of them what it decided.

    Args:
        decide: called in the first process only; returns what JSON can hold.

    Raises: UsageError in all of them if it refused; in the first whatever else it raised.
    """
    if not in_group():
        return decide()
    store = _store()
    if not is_first():
        found = json.loads(store.get(_KEY))
        if "refused" in found:
            raise UsageError(found["refused"])
        return found["decided"]
    try:
        decided = decide()
    except UsageError as error:
        store.set(_KEY, json.dumps({"refused": str(error)}))
        raise
    store.set(_KEY, json.dumps({"decided": decided}))
    return decided


def _store() -> TCPStore:
    """The store through which torch will connect the processes: that of torchrun's agent, or else the first one's."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        from lightning.fabric.plugins.environments import SLURMEnvironment

        environment = SLURMEnvironment()
        address, port = environment.main_address, environment.main_port
    else:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    serves = is_first() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = TCPStore(address, port, is_master=serves, timeout=_PATIENCE, wait_for_workers=False, multi_tenant=True)
    _kept.append(store)
    return store
