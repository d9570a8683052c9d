"""snntrain.plot: what is drawn are the spikes, potentials and rates that were recorded."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from snntrain import figure, monitor, neuron, plot, surrogate
from snntrain.layer import Linear


@pytest.fixture(scope="module")
def seen():
    torch.manual_seed(1)
    net = nn.Sequential(Linear(4, 300), neuron.LIFNode(), Linear(300, 5), neuron.SlidingPSN(k=2, step_mode="m"))
    net[0].weight.data.abs_()
    for module in net[:3]:
        module.step_mode = "m"
    return monitor.record(net, 4 * torch.rand(12, 3, 4))


def test_a_raster_has_a_mark_for_each_spike_of_the_neurons_that_it_draws(seen):
    drawn = plot.raster(seen, sample=1)
    first, second = drawn.axes
    spikes = seen["1"]["spikes"][:, 1].numpy()
    shown = np.unique(np.linspace(0, 299, 128).round().astype(int))
    marks = [(middle[0], middle[1]) for middle in (path.vertices.mean(0) for path in first.collections[0].get_paths())]
    assert sorted(marks) == sorted((step + 1, row) for step, row in np.argwhere(spikes[:, shown]))
    assert first.texts[0].get_text() == f"128 of 300 neurons · {100 * spikes.mean():.2f} % spiking"
    assert len(second.collections[0].get_paths()) == int(seen["3"]["spikes"][:, 1].sum())


def test_potentials_are_those_of_the_chosen_neurons_and_their_spikes_are_marked(seen):
    drawn = plot.potentials(seen, sample=2, neurons={"1": [7, 299]}, threshold=1.0)
    (axes,) = drawn.axes  # the second layer has no potential
    lines = axes.get_lines()
    assert lines[0].get_ydata() == [1.0, 1.0]
    for place, one in enumerate([7, 299]):
        assert lines[1 + 2 * place].get_ydata().tolist() == pytest.approx(seen["1"]["v"][:, 2, one].tolist())
        fired = (seen["1"]["spikes"][:, 2, one] != 0).nonzero().flatten() + 1
        assert lines[2 + 2 * place].get_xdata().tolist() == fired.tolist()
    with pytest.raises(ValueError, match=r"neurons must be up to 3 places from 0 to 299 for 1, got \[300\]"):
        plot.potentials(seen, neurons={"1": [300]})
    with pytest.raises(ValueError, match="no layer has a potential"):
        plot.potentials({"3": seen["3"]})


def test_rates_are_the_shares_of_neurons_that_fire(seen):
    (axes,) = plot.rates(seen).axes
    for line, layer in zip(axes.get_lines(), seen.values(), strict=True):
        assert line.get_ydata().tolist() == pytest.approx(layer["spikes"].mean((1, 2)).tolist())


def test_a_surrogate_is_drawn_with_its_gradient():
    functions = [surrogate.ATan(2.0), surrogate.ATan(4.0), surrogate.Sigmoid(4.0)]
    panels = plot.surrogates(functions, reach=1.0).axes[:3]
    titles = [axes.get_title("left") for axes in panels]
    assert titles[2] == "Sigmoid" and titles[0] != titles[1]
    x = np.linspace(-1, 1, 601)
    steepest = 4.0 * np.exp(-4 * x) / (1 + np.exp(-4 * x)) ** 2  # the logistic function's derivative
    assert panels[2].get_lines()[0].get_ydata() == pytest.approx(steepest, abs=1e-5)
    assert len([axes for axes in plot.surrogates().axes if axes.get_title("left")]) >= 16


def test_a_step_response_is_the_closed_form_and_leaves_the_neuron_as_it_was():
    integrator, firing = neuron.NonSpikingLIFNode(tau=5.0), neuron.LIFNode(tau=5.0)
    firing(torch.full((1, 2), 0.5))
    drawn = plot.step_response({"integrator": integrator, "LIF": firing, "PSN": neuron.SlidingPSN(k=2)}, 0.8, T=40)
    answer = drawn.axes[0].get_lines()[0].get_ydata()
    assert answer[4:30] == pytest.approx(0.8 * (1 - 0.8 ** np.arange(1, 27)), abs=1e-6)
    assert drawn.axes[1].get_lines()[0].get_ydata()[4:30] == pytest.approx(answer[4:30])  # below the threshold
    assert firing.v.shape == (1, 2) and firing.step_mode == "s" and firing.stored_states == ()
    with pytest.raises(ValueError, match="current must be one number, or one for each of 1 neurons"):
        plot.step_response(firing, [1.0, 2.0])


@pytest.mark.parametrize("ending", ["gif", "png"])
def test_an_animation_has_a_picture_for_each_step(tmp_path, ending):
    events = np.zeros(40, [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])
    events["t"], events["x"], events["p"] = np.arange(40) * 1000, np.arange(40) % 8, np.arange(40) % 2
    path = plot.animate(events, tmp_path / f"moving.{ending}", steps=3, scores=np.eye(3), classes=["a", "b", "c"])
    with Image.open(path) as picture:
        assert picture.n_frames == 3
        colors = {color for _, color in picture.convert("RGB").getcolors(100_000)}
    assert len(colors) > 10
    with pytest.raises(ValueError, match=r"a file \.gif or \.png, got"):
        plot.animate(events, tmp_path / "moving.mp4")


def test_figures_are_shown_by_notebooks_and_saved_in_their_style(seen, tmp_path):
    drawn = plot.rates(seen)
    drawn.savefig(tmp_path / "rates.png")
    assert drawn._repr_png_().startswith(b"\x89PNG")
    with Image.open(tmp_path / "rates.png") as picture:
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert isinstance(drawn, figure.Drawing)
