"""The gallery shows every neuron and every surrogate, and its page names every picture."""

import gallery
import pytest
import torch
from programs import ROOT

from snntrain import neuron, surrogate
from snntrain.surrogate import SurrogateFunction


def test_every_neuron_and_surrogate_has_a_panel_or_is_left_out_by_name():
    assert {*gallery.NEURONS, *gallery.NOT_DRAWN} == set(neuron.__all__)
    classes = {value for value in vars(surrogate).values() if isinstance(value, type)}
    ours = {kind for kind in classes if issubclass(kind, SurrogateFunction)} - {
        SurrogateFunction,
        surrogate.AlphaSurrogate,
    }
    drawn = {getattr(surrogate, name) for name in gallery.SURROGATES}
    assert ours - drawn == {surrogate.MultiLevelSpikeCount}  # of counts, not of one spike


@pytest.mark.parametrize("name", [name for name in gallery.NEURONS if not name.startswith("NonSpiking")])
def test_a_step_of_current_makes_the_neuron_of_a_panel_fire(name):
    arguments, strength = gallery.NEURONS[name]
    kind = getattr(neuron, name)
    more = {"backend": "torch"} if hasattr(kind, "backend") else {}
    node = kind(**arguments, step_mode="m", **more)
    torch.manual_seed(1)
    assert node(torch.full((80, 1, arguments.get("branches", 1)), strength)).count_nonzero() > 0


def test_the_page_has_a_place_for_every_picture():
    text = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    assert all(f"<!-- picture: {name} -->" in text for name in gallery.PICTURES)
