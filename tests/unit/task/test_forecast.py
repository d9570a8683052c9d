"""Nets that go on with a series from their own predictions, against loops written out, and the error measured on it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refused import message_of
from small_training import SGD, trainer
from torch import Tensor, nn

from snntrain import functional
from snntrain.config.check import check
from snntrain.config.compose import compose
from snntrain.data import MackeyGlass
from snntrain.data.target import Target
from snntrain.encoding import FramesEncoder
from snntrain.error import UsageError
from snntrain.model import build
from snntrain.task import Forecast
from snntrain.task.metric import make_metrics

T, WINDOW = 6, 3


def net(features: int = WINDOW, outputs: int = 1, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    neuron = {"name": "LIFNode", "v_threshold": 0.3, "backend": "torch"}
    layers = [{"name": "Linear", "out_features": 7}, "neuron", {"name": "Linear", "out_features": outputs}]
    return build(layers, (features,), neuron)


def task(features: int = WINDOW, outputs: int = 1, horizon: int = 5, **more) -> Forecast:
    made = Forecast(net(features, outputs), FramesEncoder(), T, outputs, SGD, horizon, **more)
    made.log = lambda *arguments, **named: None
    return made


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 3), st.integers(0, 100))
def test_each_output_becomes_the_next_input(steps, T, N, seed):
    made, x_seq = net(2, 2, seed), torch.rand(T, N, 2, generator=torch.Generator().manual_seed(seed))
    found = functional.closed_loop(made, x_seq, steps)
    x, expected = x_seq, []
    for _ in range(steps):  # the whole past anew for each step, so that no state is carried
        functional.reset_net(made)
        expected.append(made(x)[-1:].detach())
        x = torch.cat([x, expected[-1]])
    torch.testing.assert_close(found, torch.cat(expected))
    assert not found.requires_grad


def test_a_feed_makes_the_next_input_of_output_and_input():
    class Newest(nn.Module):
        def forward(self, x_seq: Tensor) -> Tensor:
            return 2 * x_seq[..., -1:]

    def shift(output: Tensor, x: Tensor) -> Tensor:
        return torch.cat([x[:, 1:], output], 1)

    found = functional.closed_loop(Newest(), torch.tensor([[[1.0, 3.0]]]), 3, shift)
    assert found.flatten().tolist() == [6.0, 12.0, 24.0]
    assert "steps must be an integer ≥ 1, got 0" in message_of(
        ValueError, functional.closed_loop, Newest(), torch.ones(1, 1, 2), 0, shift
    )


def test_training_gets_true_values_and_the_test_its_own():
    module, source = task(), torch.Generator().manual_seed(0)
    x, target = torch.rand(2, T, WINDOW, generator=source), torch.rand(2, 5, 1, generator=source)
    batch = (x, target, torch.arange(2))
    found = module.outputs("train", x, batch)
    functional.reset_net(module.net)
    torch.testing.assert_close(found, module.net(x.transpose(0, 1)))
    series, expected = x.transpose(0, 1), []
    for _ in range(5):
        functional.reset_net(module.net)
        expected.append(module.net(series)[-1].detach())
        series = torch.cat([series, torch.cat([series[-1, :, 1:], expected[-1]], 1)[None]])
    for stage in ("val", "test"):
        torch.testing.assert_close(module.outputs(stage, x, batch), torch.stack(expected))
    assert len(module.outputs("val", x, (x, target[:, :2]))) == 2  # as many as there are targets


def test_a_net_of_changes_tells_values_in_training_and_in_the_loop():
    module, x = task(changes=True), torch.rand(2, T, WINDOW, generator=torch.Generator().manual_seed(1))
    series, expected = x.transpose(0, 1), []
    for _ in range(3):
        functional.reset_net(module.net)
        expected.append(series[-1, :, -1:] + module.net(series)[-1].detach())
        series = torch.cat([series, torch.cat([series[-1, :, 1:], expected[-1]], 1)[None]])
    torch.testing.assert_close(module.outputs("val", x, (x, torch.zeros(2, 3, 1))), torch.stack(expected))
    found = module.outputs("train", x, (x, torch.zeros(2, T, 1)))
    functional.reset_net(module.net)
    torch.testing.assert_close(found, x.transpose(0, 1)[..., -1:] + module.net(x.transpose(0, 1)))


def test_several_values_leave_the_window_together():
    module = task(features=4, outputs=2)
    x = torch.arange(24.0).view(1, T, 4) / 8
    found = module.outputs("val", x, (x, torch.zeros(1, 2, 2)))
    functional.reset_net(module.net)
    first = module.net(x.transpose(0, 1))[-1].detach()
    second = module.net(torch.cat([x[:, -1, 2:], first], 1)[None])[0].detach()
    torch.testing.assert_close(found, torch.stack([first, second]))
    module = task(features=3, outputs=2)
    x = torch.zeros(1, T, 3)
    assert "cannot hold predictions of 2" in message_of(ValueError, module.outputs, "val", x, (x, torch.zeros(1, 2, 2)))


def test_smape_is_200_times_the_mean_of_error_over_the_sum_of_both_sizes():
    metric = make_metrics(["smape"], Target.STEP_VALUES, 1, ("loss",))["test"]["smape"]
    predicted, target = torch.tensor([[1.0], [2.0], [-1.0], [0.0]]), torch.tensor([[3.0], [2.0], [1.0], [0.0]])
    metric.update(predicted[:1], target[:1])
    metric.update(predicted[1:], target[1:])
    assert float(metric.compute()) == pytest.approx((100 + 0 + 200 + 0) / 4)


def test_the_error_of_a_test_is_that_of_the_points_after_the_learned_ones(tmp_path):
    data = MackeyGlass(1, [WINDOW], steps=T, window=WINDOW, predicted=40, tested="all", batch_size=7)
    module = Forecast(net(), FramesEncoder(), T, 1, SGD, 40, metrics=["mae"])
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=1)
    run.fit(module, datamodule=data)
    assert {"val/smape", "val/loss", "train/smape"} <= set(run.callback_metrics)
    run.test(module, datamodule=data, verbose=False)
    test = data.splits["test"]
    with torch.no_grad():
        functional.reset_net(module.net)
        x = test.x.transpose(0, 1)
        predicted = [module.net(x)[-1]]
        for _ in range(39):
            x = torch.cat([x[-1, :, 1:], predicted[-1]], 1)[None]
            predicted.append(module.net(x)[0])
    standardized = torch.stack(predicted, 1)
    mean, std = (float(value) for value in (data.value_standard.mean, data.value_standard.std))
    predicted, target = (values * std + mean for values in (standardized, test.labels))
    assert 0.9 < float(target.mean()) < 1
    error = 200 * ((predicted - target).abs() / (predicted.abs() + target.abs())).mean()
    assert float(run.callback_metrics["test/smape"]) == pytest.approx(float(error), rel=1e-4)
    assert float(run.callback_metrics["test/mae"]) == pytest.approx(float((predicted - target).abs().mean()), rel=1e-4)
    arrays = module.test_arrays()
    assert arrays["steps"][:, 0].tolist() == [30.0] * 40
    torch.testing.assert_close(arrays["example"][:, 1], standardized[0])


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["task=sequence", "data=mackey_glass"], r"values after its inputs\. Use task=forecast"),
        (["task=forecast", "data=noisy_sine", "task.horizon=3"], r"are those of its steps\. Use task=sequence"),
        (["task=forecast", "data=mackey_glass", "task.horizon=0"], r"horizon=0, but data\.predicted=750"),
    ],
)
def test_what_does_not_fit_together_is_refused_at_the_door(overrides, wanted):
    with pytest.raises((UsageError, ValueError), match=wanted):
        check(compose(["model=forecast", *overrides]))
