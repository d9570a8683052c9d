"""Warn in the terminal of layers that keep a net from learning without any error."""

import lightning.pytorch as pl

from snntrain.terminal import terminal, warn

console = terminal()

_SILENT, _SATURATED = 1e-4, 0.99  # firing rates of a layer in the validation


class Advice(pl.Callback):
    """Warn of layers that never or always fire.

    A layer is named once, after the first validation in which its rate is out of bounds.

    Args:
        firing_rate: prefix of the metrics of each layer, as SpikeStatistics logs them.
    """

    def __init__(self, firing_rate: str = "val/firing_rate/") -> None:
        self.firing_rate = firing_rate
        self._named: set[str] = set()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After the epoch's own line; its validation is over by then."""
        rates = {
            name.removeprefix(self.firing_rate): float(rate)
            for name, rate in trainer.callback_metrics.items()
            if name.startswith(self.firing_rate) and name.removeprefix(self.firing_rate) not in self._named
        }
        silent = [layer for layer, rate in rates.items() if rate < _SILENT]
        saturated = [layer for layer, rate in rates.items() if rate > _SATURATED]
        self._named |= {*silent, *saturated}
        epoch = trainer.current_epoch + 1
        if silent:
            _warn(
                trainer,
                f"hardly any neuron fires in {', '.join(silent)} (validation of epoch {epoch}), so "
                "that later layers get nothing to learn from. Lower neuron.v_threshold, try another neuron.tau, put a "
                "normalization before the neurons, or have the encoder give larger inputs.",
            )
        if saturated:
            _warn(
                trainer,
                f"nearly all neurons fire in every step in {', '.join(saturated)} (validation of epoch "
                f"{epoch}), so that their spikes tell nothing. Raise neuron.v_threshold, put a "
                "normalization before the neurons, or have the encoder give smaller inputs.",
            )


def _warn(trainer: pl.Trainer, text: str) -> None:
    if trainer.is_global_zero:
        warn(console, text)
