"""QCFS: the function and its gradients as in the paper, the neurons that follow from it, and fine-tuning."""

import copy
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from watched_nets import fingerprint, outputs_of

from snntrain.ann2snn.convert import convert
from snntrain.ann2snn.converted import to_spiking
from snntrain.ann2snn.graph import prepare, rectifiers
from snntrain.ann2snn.method import METHODS, ChannelMSE
from snntrain.ann2snn.qcfs import QCFS, QCFSRectifier, fine_tune, qcfs_settings, replace_by_qcfs
from snntrain.error import Diverged
from snntrain.functional import set_backend


def two_moons(n: int = 512) -> tuple[Tensor, Tensor]:
    """Two classes that no line separates."""
    generator = torch.Generator().manual_seed(0)
    angle = torch.rand(n, generator=generator) * torch.pi
    y = torch.arange(n) % 2
    x = torch.stack([angle.cos() + y, torch.where(y == 0, angle.sin(), 0.4 - angle.sin())], 1)
    return x + 0.1 * torch.randn(n, 2, generator=generator), y


def trained() -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """A net of one's own, and the data that it was trained on."""
    net, data = _trained()
    torch.manual_seed(0)
    return copy.deepcopy(net), data


@functools.cache
def _trained() -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 24), nn.ReLU(), nn.Linear(24, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 2))
    x, y = two_moons()
    data = list(zip(x.split(64), y.split(64), strict=True))
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for a, b in data * 12:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(a), b).backward()
        optimizer.step()
    return net.eval(), data


def accuracy(logits: Tensor) -> float:
    return (logits.argmax(1) == two_moons()[1]).float().mean().item()


# --- the function ----------------------------------------------------------------------------------------------------


def test_the_levels_and_the_gradients_of_the_paper():
    """λ = 2, L = 4: levels 0, ½, 1, 3/2, 2; dy/dz is 1 between the bounds; dy/dλ is (y − z)/λ there, 1 above."""
    z = torch.tensor([-1.0, -0.2, 0.2, 0.3, 0.9, 1.3, 1.7, 2.1, 2.3, 5.0], requires_grad=True)
    module = QCFSRectifier(2.0, levels=4)
    y = module(z)
    assert y.tolist() == [0, 0, 0, 0.5, 1, 1.5, 1.5, 2, 2, 2]
    wanted = [0, 0.2 / 2, -0.2 / 2, 0.2 / 2, 0.1 / 2, 0.2 / 2, -0.2 / 2, -0.1 / 2, 1, 1]
    for index, slope in enumerate(wanted):
        dz, dscale = torch.autograd.grad(y[index], [z, module.scale], retain_graph=True)
        assert dscale.item() == pytest.approx(slope, abs=1e-6)
        inside = -0.25 <= z[index].item() < 2.25
        assert dz[index].item() == (1 if inside else 0) and dz.count_nonzero() == inside


@settings(deadline=None, max_examples=15)
@given(levels=st.integers(1, 16), scale=st.floats(0.01, 50), z=st.lists(st.floats(-100, 100), min_size=1, max_size=8))
def test_the_formula_with_one_scale_and_with_one_per_channel(levels, scale, z):
    z = torch.tensor(z, dtype=torch.double)
    scales = torch.tensor([scale, 2 * scale], dtype=torch.double)
    with torch.no_grad():
        found = QCFSRectifier(scales, levels)(z.view(-1, 1, 1).expand(-1, 2, 3))
        one = QCFSRectifier(scales[0], levels)(z)
    for value, channels in zip(z.tolist(), found, strict=True):
        for bound, y in zip(scales.tolist(), channels, strict=True):
            wanted = bound * min(max(torch.floor(torch.tensor(value * levels / bound + 0.5)).item() / levels, 0), 1)
            # Rounding decides where a value lies on the edge of a level.
            edge = abs((value * levels / bound + 0.5) % 1 - 0.5) > 0.5 - 1e-9
            assert edge or torch.allclose(y, torch.full_like(y, wanted))
    assert torch.equal(one, found[:, 0, 0])


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"scale": 0.0}, "scale must be a number > 0"),
        ({"scale": torch.tensor([1.0, -1.0])}, "scale must be a number > 0"),
        ({"scale": torch.ones(2, 2)}, "scale must be a number > 0"),
        ({"scale": float("nan")}, "scale must be a finite number"),
        ({"scale": 1.0, "levels": 0}, "levels must be an integer ≥ 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(arguments, text):
    with pytest.raises(ValueError, match=f"QCFSRectifier: {text}"):
        QCFSRectifier(**arguments)


# --- in a net --------------------------------------------------------------------------------------------------------


def test_every_activation_is_replaced_and_gives_its_threshold():
    net, data = trained()
    gm = prepare(net, data[0][0])
    scales = {name: torch.rand(24) + 0.5 for name in rectifiers(gm)}
    first = next(iter(scales))
    scales[first][3] = 0.0  # dead
    replace_by_qcfs(gm, scales, 4)
    assert [type(module) for module in rectifiers(gm).values()] == [QCFSRectifier] * 2
    for name, setting in qcfs_settings(gm, "so").items():
        alive = scales[name] > 0
        assert torch.equal(setting.theta[alive], scales[name][alive]) and (setting.theta > 0).all()
        assert torch.equal(setting.v_init, setting.theta / 2) and setting.note == "so"


def test_for_t_equal_to_l_the_first_neurons_give_the_same_and_the_net_nearly_so():
    net, data = trained()
    gm = prepare(net, data[0][0])
    replace_by_qcfs(gm, {name: torch.full((24,), 3.0) for name in rectifiers(gm)}, 8)
    snn = to_spiking(gm, qcfs_settings(gm))
    set_backend(snn, "torch")
    x, first = torch.cat([a for a, _ in data]), next(iter(rectifiers(gm)))
    with torch.no_grad(), outputs_of({"ann": rectifiers(gm)[first], "snn": snn.neurons[first]}) as outputs:
        wanted = gm(x)
        found = snn.predict(x, 8)
    (analog,), (spiking,) = outputs["ann"], outputs["snn"]
    torch.testing.assert_close(spiking.unflatten(0, (8, -1)).mean(0), analog)
    assert (found - wanted).norm() < 0.25 * wanted.norm()


def test_fine_tuning_trains_weights_and_scales():
    net, data = trained()
    gm = prepare(net, data[0][0])
    replace_by_qcfs(gm, {name: torch.full((24,), 1.0) for name in rectifiers(gm)}, 2)
    before = {name: value.detach().clone() for name, value in gm.named_parameters()}
    with torch.no_grad():  # as a caller may have it
        losses = fine_tune(gm, data, epochs=6, lr=0.01)
    assert len(losses) == 6 and losses[-1] < 0.7 * losses[0]
    moved = {name for name, value in gm.named_parameters() if not torch.equal(value, before[name])}
    assert {name for name in before if name.endswith("scale")} <= moved and "0.weight" in moved
    assert all(p.grad is None for p in gm.parameters())


@pytest.mark.parametrize(("lr", "broken"), [(1e30, 1.0), (1e-3, float("nan"))], ids=["lr", "a loss of NaN"])
def test_fine_tuning_stops_at_the_first_loss_that_is_not_finite(lr, broken):
    net, data = trained()
    gm, seen = prepare(net, data[0][0]), []

    def loss(y: Tensor, target: Tensor) -> Tensor:
        seen.append(None)
        return nn.functional.cross_entropy(y, target) * (broken if len(seen) == 2 else 1.0)

    with pytest.raises(Diverged, match=r"fine_tune: at step [23] the loss is .* Use a smaller lr"):
        fine_tune(gm, data, epochs=5, lr=lr, loss=loss)
    assert len(seen) <= 3


def test_the_rate_falls_to_zero_as_a_cosine():
    """For a gradient of ever the same sign, Adam moves by the rate at each step."""
    weight = nn.Linear(1, 1, bias=False)
    start = weight.weight.item()
    data = [(torch.ones(1, 1), torch.zeros(1))] * 10
    fine_tune(weight, data, lr=0.1, loss=lambda out, target: out.sum())
    cosine = sum(0.1 * (1 + torch.cos(torch.tensor(torch.pi * i / 10)).item()) / 2 for i in range(10))
    assert start - weight.weight.item() == pytest.approx(cosine, rel=1e-3)
    without_length = nn.Linear(1, 1, bias=False)
    start = without_length.weight.item()
    fine_tune(without_length, iter(data), lr=0.1, loss=lambda out, target: out.sum())
    assert start - without_length.weight.item() == pytest.approx(1.0, rel=1e-3)


def test_the_method_makes_few_steps_enough():
    net, data = trained()
    before = fingerprint(net)
    x = torch.cat([a for a, _ in data])
    torch.manual_seed(0)
    snn = convert(net, data, QCFS(epochs=15, lr=0.01), T=4, calibration="none")
    plain = convert(net, data, "max_norm", T=4, calibration="none")
    with torch.no_grad():
        ann = accuracy(net(x))
    assert fingerprint(net) == before and METHODS["qcfs"] is QCFS
    assert ann > 0.95 and accuracy(snn.predict(x, 4)) > ann - 0.03 > accuracy(plain.predict(x, 4))
    assert any("fine-tuned with 4 levels" in str(row.warnings) for row in snn.report.rows)


def test_training_data_may_be_other_than_calibration_data():
    net, data = trained()
    gm = prepare(net, data[0][0])
    batches = []

    class Training:
        def __iter__(self):
            batches.append(1)
            return iter(data[1:])

    start = ChannelMSE().fit(gm, [data[0][0]], 4)
    found = QCFS(lr=1e-9, training=Training()).fit(gm, [data[0][0]], 4)
    assert batches == [1]
    for name, setting in found.items():  # starts at the thresholds of the calibration data
        alive = start[name].theta > 0
        torch.testing.assert_close(setting.theta[alive], start[name].theta[alive], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("T, levels, wanted", [(4, None, 4), (8, None, 4), (9, None, 8), (32, 6, 6)])
def test_the_number_of_levels_follows_the_steps(T, levels, wanted):
    net, data = trained()
    gm = prepare(net, data[0][0])
    QCFS(levels).fit(gm, data[:1], T)
    assert {module.levels for module in rectifiers(gm).values()} == {wanted}


def test_data_of_unknown_length_and_inference_mode():
    """A DataLoader of an iterable data set has a length only in name."""
    net, data = trained()

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(data)

    losses = []
    for loader, mode in [(data, torch.enable_grad), (DataLoader(Stream(), batch_size=None), torch.inference_mode)]:
        gm = prepare(net, data[0][0])
        replace_by_qcfs(gm, {name: torch.full((24,), 3.0) for name in rectifiers(gm)}, 4)
        with mode():
            losses += fine_tune(gm, loader, epochs=2, lr=0.01)
    assert losses[0] == pytest.approx(losses[2], rel=0.1) and losses[3] < losses[2]


@pytest.mark.parametrize("data, text", [([torch.rand(4, 2)], "batches must be"), ([], "no batches")])
def test_data_without_targets_is_refused(data, text):
    with pytest.raises(ValueError, match=text):
        fine_tune(nn.Linear(2, 2), data)
