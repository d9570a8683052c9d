"""Keep the program's own signal handlers while Lightning trains."""

import signal
import threading
from typing import Any

import lightning.pytorch as pl


class OwnHandlers(pl.Callback):
    """Keep Lightning from answering SIGTERM.

    Its handler talks to the other processes of the run, possibly in the middle of another exchange: they then wait
    for each other forever.
    """

    def __init__(self) -> None:
        self._handler: Any = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def _put_back(self, *arguments: Any) -> None:
        if self._handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)

    on_train_start = on_validation_start = on_test_start = on_predict_start = _put_back
