"""The width of the windows over the training, on resume too, and what rounding costs, measured in the test."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from refused import message_of
from small_training import Patches, small_task, trainer

from snntrain import functional
from snntrain.callback import DelayAnnealing, ResumePoint, Seeding
from snntrain.layer import DelaySettings, delay_lines, interpolated
from snntrain.task.optimizer import parameter_groups

DELAY = {"max": 3, "start_width": 2.0, "final_width": 0.5, "until": 0.5}
LAYERS = [
    "Flatten",
    {"name": "Linear", "out_features": 12, "delay": DELAY},
    "neuron",
    {"name": "Linear", "out_features": 3, "delay": {"max": 2, "kind": "synaptic", "lr_factor": 7.0}},
]


def task(**more: Any) -> pl.LightningModule:
    neuron = {"name": "IFNode", "v_threshold": 0.4, "backend": "torch"}
    return small_task(neuron=neuron, layers=LAYERS, poisson=True, **more)


class Widths(pl.Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.seen.append(float(pl_module.net.layers[1].delay.width))


def fit(folder: Path, resume: Path | None = None, **settings: Any):
    widths = Widths()
    callbacks = [Seeding(1), DelayAnnealing(), widths, ResumePoint(folder, {})]
    run = trainer(folder, *callbacks, **{"max_epochs": 4, **settings})
    module = task()
    run.fit(module, datamodule=Patches(), ckpt_path=resume, weights_only=True)
    return module, run, widths.seen


@pytest.mark.slow
def test_the_width_shrinks_with_the_share_of_the_training(tmp_path):
    """4 epochs of 3 batches, so that half of the training are 6: 2·(1/4)^(k/6)."""
    module, _, widths = fit(tmp_path)
    assert len(widths) == 12
    torch.testing.assert_close(widths, [2 * 0.25 ** min(k / 6, 1) for k in range(12)])
    assert float(module.net.layers[3].width) == pytest.approx(DelaySettings(max=2).final_width)
    _, _, widths = fit(tmp_path / "steps", max_epochs=-1, max_steps=4)
    torch.testing.assert_close(widths, [2.0, 1.0, 0.5, 0.5])


def test_a_resumed_run_has_the_same_weights(tmp_path):
    whole, *_ = fit(tmp_path / "whole")

    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module) -> None:
            trainer.should_stop = trainer.current_epoch == 1

    folder = tmp_path / "parts"
    run = trainer(folder, Seeding(1), DelayAnnealing(), Stop(), ResumePoint(folder, {}), max_epochs=4)
    run.fit(task(), datamodule=Patches(), weights_only=True)
    resumed, _, widths = fit(folder, resume=folder / "last.ckpt")
    assert len(widths) == 6 and set(widths) == {0.5}
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name]), name


def test_delays_are_learned_at_a_rate_of_their_own_without_decay():
    module = task()
    first, second = module.net.layers[1].delay.delay, module.net.layers[3].delay
    *others, of_first, of_second = parameter_groups(module.net, lr=0.01)
    assert of_first == {"params": [first], "weight_decay": 0.0, "lr": pytest.approx(1.0)}
    assert of_second == {"params": [second], "weight_decay": 0.0, "lr": pytest.approx(0.07)}
    listed = [id(p) for group in others for p in group["params"]]
    assert not {id(first), id(second)} & set(listed)
    assert len(listed) + 2 == len(list(module.net.parameters()))
    assert [group["lr"] for group in module.configure_optimizers()["optimizer"].param_groups] == [
        0.1,
        0.1 * 100,
        0.1 * 7,
    ]
    module.optim = {key: value for key, value in module.optim.items() if key != "lr"}
    assert module.configure_optimizers()["optimizer"].param_groups[1]["lr"] == pytest.approx(0.1)  # torch's 0.001


def test_the_test_measures_what_rounding_costs(tmp_path):
    module, run, _ = fit(tmp_path, max_epochs=1)
    with torch.no_grad():  # far from whole steps, so that there is a difference
        for line in delay_lines(module.net).values():
            line.delay.fill_(0.4)
            line.width.fill_(2.0)
        module.net.layers[3].layer.weight.mul_(3)
    (found,) = run.test(module, datamodule=Patches(), verbose=False)
    module.eval()
    data, right, total, rounded = Patches(), 0, 0, 0
    data.setup()
    with torch.no_grad():
        for batch in data.test_dataloader():
            for inside in (True, False):
                functional.reset_net(module.net)
                x_seq = module.encoded(batch[0], module.encoding_seeds("test", batch))
                if inside:
                    with interpolated(module.net):
                        right += int((module.scores(module.net(x_seq)).argmax(1) == batch[1]).sum())
                else:
                    rounded += int((module.scores(module.net(x_seq)).argmax(1) == batch[1]).sum())
            total += len(batch[1])
    assert found["test/acc_interpolated"] == pytest.approx(right / total)
    assert found["test/acc"] == pytest.approx(rounded / total)
    assert right != rounded
    assert not any(line.is_interpolated for line in delay_lines(module.net).values())


def test_a_training_without_an_end_is_refused(tmp_path):
    run = trainer(tmp_path, DelayAnnealing(), max_epochs=-1)
    said = message_of(ValueError, run.fit, task(), datamodule=Patches())
    assert "Set trainer.max_epochs, or trainer.max_steps" in said
