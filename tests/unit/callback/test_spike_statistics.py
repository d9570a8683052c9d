"""Firing rates are exact shares of (neuron, time step, sample)."""

import pytest
import torch
from small_training import TWO, Patches, small_task, trainer
from torch import nn

from snntrain.callback import SpikeStatistics
from snntrain.callback.spike_statistics import spiking_layers


def counted(task, x: torch.Tensor, batch_size: int) -> dict[str, tuple[int, int]]:
    """(spikes, places) per neuron layer, counted one by one without hooks."""
    counts = {}
    for start in range(0, len(x), batch_size):
        from snntrain import functional

        functional.reset_net(task.net)
        y = task.encoder(x[start : start + batch_size], task.T)
        for index, layer in enumerate(task.net.layers):
            y = layer(y)
            if index in (2, 4):
                spikes, places = counts.get(f"layers.{index}", (0, 0))
                fired = sum(value != 0 for value in y.detach().flatten().tolist())
                counts[f"layers.{index}"] = spikes + fired, places + y.numel()
    return counts


@pytest.mark.parametrize("batch_size", [7, 32])
def test_rates_are_exact_over_the_whole_split_and_for_each_layer(tmp_path, batch_size):
    task, data = small_task(layers=TWO), Patches(batch_size=batch_size)
    run = trainer(tmp_path, SpikeStatistics(), max_epochs=2)
    run.fit(task, datamodule=data)
    found = {name: float(value) for name, value in run.callback_metrics.items()}
    run.test(task, datamodule=data, verbose=False)
    found |= {name: float(value) for name, value in run.callback_metrics.items()}
    for stage in ("val", "test"):
        x, *_ = data.splits[stage].__getitems__(range(len(data.splits[stage])))
        counts = counted(task, x, batch_size)
        assert list(counts) == ["layers.2", "layers.4"]
        for path, (spikes, places) in counts.items():
            assert found[f"{stage}/firing_rate/{path}"] == torch.tensor(spikes / places).item()
        spikes, places = (sum(column) for column in zip(*counts.values(), strict=True))
        assert found[f"{stage}/firing_rate"] == torch.tensor(spikes / places).item()
        assert 0 < spikes < places


def test_a_second_evaluation_starts_to_count_anew(tmp_path):
    task, data = small_task(layers=TWO), Patches()
    run = trainer(tmp_path, SpikeStatistics())
    assert run.test(task, datamodule=data, verbose=False) == run.test(task, datamodule=data, verbose=False)


def test_no_hook_is_left_on_the_network_and_no_output_is_changed(tmp_path):
    task, data = small_task(layers=TWO), Patches()
    run = trainer(tmp_path, SpikeStatistics(every_n_batches=1))
    run.fit(task, datamodule=data)
    run.test(task, datamodule=data, verbose=False)
    assert all(not module._forward_hooks for module in task.net.modules())
    without = small_task(layers=TWO)
    trainer(tmp_path).fit(without, datamodule=Patches())
    for one, other in zip(task.net.parameters(), without.net.parameters(), strict=True):
        assert torch.equal(one, other)


def test_hooks_go_when_training_breaks_off(tmp_path):
    class Breaks(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("broken off")

    task = small_task(layers=TWO)
    task.net.layers.append(Breaks())
    with pytest.raises(RuntimeError, match="broken off"):
        trainer(tmp_path, SpikeStatistics()).fit(task, datamodule=Patches())
    assert all(not module._forward_hooks for module in task.net.modules())


def test_training_is_looked_at_every_n_batches(tmp_path):
    class Looks(SpikeStatistics):
        def on_train_batch_end(self, *args) -> None:
            looked.append(any(module._forward_hooks for module in args[1].modules()))
            super().on_train_batch_end(*args)
            rates.append(self.training_rate)

    looked, rates = [], []
    trainer(tmp_path, Looks(every_n_batches=4), max_epochs=1).fit(small_task(), datamodule=Patches(batch_size=9))
    assert looked == [True, False, False, False, True, False, False, False, True, False]
    assert rates[0] == rates[3] != rates[4] and all(0 < rate < 1 for rate in rates)


def test_a_network_without_neurons_has_no_firing_rate(tmp_path):
    run = trainer(tmp_path, SpikeStatistics(every_n_batches=1))
    run.fit(small_task(neuron="ReLU", T=1), datamodule=Patches())
    assert not [name for name in run.callback_metrics if "firing" in name]


def test_neuron_layers_are_found_by_their_paths_in_order():
    assert list(spiking_layers(small_task(layers=TWO).net)) == ["layers.2", "layers.4"]
    assert spiking_layers(nn.Linear(1, 1)) == {}


def test_the_interval_is_an_integer_from_1():
    with pytest.raises(ValueError, match=r"SpikeStatistics: every_n_batches must be an integer ≥ 1, got 0"):
        SpikeStatistics(every_n_batches=0)
