"""Scales of activations: the statistics of the three modes, against numpy and the formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snntrain.ann2snn.scaler import VoltageHook, VoltageScaler, percentile

BATCHES = torch.randn(4, 5, 3, 7, generator=torch.Generator().manual_seed(0))


def followed(statistics: list[float], momentum: float) -> float:
    s = statistics[0]
    for s_t in statistics[1:]:
        s = (1 - momentum) * s + momentum * s_t
    return s


@pytest.mark.parametrize("momentum", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(
    "mode, statistic",
    [
        ("max", lambda x: x.max()),
        ("MaX", lambda x: x.max()),
        (0.7, lambda x: 0.7 * x.max()),
        (1.0, lambda x: x.max()),
        (1, lambda x: x.max()),
        ("99.9%", lambda x: np.percentile(x, 99.9)),
        ("50%", lambda x: np.percentile(x, 50)),
        ("100%", lambda x: x.max()),
        (" 12.5 %", lambda x: np.percentile(x, 12.5)),
    ],
)
def test_the_scale_follows_the_statistic_of_the_batches(mode, statistic, momentum):
    hook = VoltageHook(momentum=momentum, mode=mode)
    for x in BATCHES:
        assert hook(x) is x
    wanted = followed([float(statistic(x.double().numpy())) for x in BATCHES], momentum)
    assert hook.scale.item() == pytest.approx(wanted, abs=1e-6)
    hook.eval()(BATCHES[0] * 100)
    assert hook.scale.item() == pytest.approx(wanted, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(x=st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=50), percentage=st.floats(0, 100))
def test_percentiles_are_those_of_numpy(x, percentage):
    found = percentile(torch.tensor(x), percentage).item()
    assert found == pytest.approx(np.percentile(np.array(x, dtype=np.float64), percentage), rel=1e-5, abs=1e-4)


def test_percentiles_of_more_elements_than_torch_allows():
    n = 2**24 + 2
    x = torch.arange(n, dtype=torch.float32)
    assert percentile(x, 1.0).item() == pytest.approx(0.01 * (n - 1), abs=1)
    with pytest.raises(RuntimeError):
        torch.quantile(x, 0.01)


@pytest.mark.parametrize(
    "mode", ["maximum", "99.9", "101%", "-1%", "x%", "nan%", 0, 0.0, -0.5, 1.1, True, None, float("nan")]
)
def test_other_modes_are_refused_with_the_three_that_there_are(mode):
    with pytest.raises(ValueError, match=r"VoltageHook: mode must be 'max', a percentage .* or a number 0 < x ≤ 1"):
        VoltageHook(mode=mode)


def test_scales_are_buffers_and_the_first_batch_counts_after_loading():
    hook, fresh = VoltageHook(), VoltageHook(scale=5.0)
    hook(BATCHES[0])
    assert set(hook.state_dict()) == {"scale", "num_batches_tracked"} and fresh.scale == 5.0
    fresh.load_state_dict(hook.state_dict())
    fresh(BATCHES[1])
    assert fresh.scale.item() == pytest.approx(followed([BATCHES[0].max().item(), BATCHES[1].max().item()], 0.1))


def test_a_scaler_scales_in_the_dtype_of_its_input():
    x = torch.rand(2, 3, 4)
    assert torch.equal(VoltageScaler(2.5)(x), 2.5 * x)
    scale = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(VoltageScaler(scale)(x), x * scale.view(1, 3, 1))
    for scaler in (VoltageScaler(2.0), VoltageScaler(scale)):
        assert scaler(x.bfloat16()).dtype == torch.bfloat16 and list(scaler.state_dict()) == ["scale"]
    with pytest.raises(ValueError, match="scale"):
        VoltageScaler(float("inf"))
    with pytest.raises(ValueError, match=r"\[3\].*\[2, 5\]"):
        VoltageScaler(scale)(torch.rand(2, 5))


@pytest.mark.parametrize("mode", ["max", "99.9%", "0%", 0.5])
def test_an_empty_batch_leaves_the_scale_as_it_is(mode):
    hook = VoltageHook(mode=mode)
    hook(torch.tensor([1.0, 3.0]))
    scale = hook.scale.item()
    empty = torch.empty(0, 4)
    assert hook(empty) is empty and hook.scale.item() == scale and hook.num_batches_tracked == 1
    with pytest.raises(ValueError, match=r"^percentile: x must be a tensor with elements, got \[0, 4\]\.$"):
        percentile(empty, 50)
