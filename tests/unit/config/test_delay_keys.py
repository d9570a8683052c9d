"""The keys of `delay` in a config, refused before any data is read."""

import pytest
from checked import checked, refusal

from snntrain.callback import DelayAnnealing
from snntrain.run.build import build


def model(delay: str) -> str:
    first = f"{{name: Linear, out_features: 8, delay: {delay}}}"
    return f"model.layers=[Flatten,{first},neuron,{{name: Linear, out_features: 10}}]"


@pytest.mark.parametrize(
    "delay, said",
    [
        ("{maxx: 4}", "model.layers[1].delay.maxx is not an argument of delay. Did you mean max?"),
        ("{kind: axonal}", "model.layers[1].delay: delay needs the argument max."),
        ("{max: 4.5}", "model.layers[1].delay.max must be an integer, got 4.5."),
        ("{max: 4, learn: 1}", "model.layers[1].delay.learn must be true or false, got 1."),
        ("{max: 4, kind: axnoal}", "model.layers[1]: delay: kind must be one of 'axonal', 'synaptic', got 'axnoal'."),
        ("{max: 4, until: 2}", "model.layers[1]: delay: until must be a finite number ≥ 0 and ≤ 1, got 2."),
        ("4", "model.layers[1].delay must be a mapping, got 4."),
        (
            "{max: 5}",
            "model.layers[1].delay.max=5, but T=4: what is delayed by T steps or more never arrives. Use max: 4",
        ),
    ],
)
def test_wrong_keys_are_refused(delay: str, said: str):
    assert said in refusal(model(delay))


def test_a_run_that_learns_delays_narrows_their_windows(tmp_path):
    for learn, count in (("true", 1), ("false", 0)):
        config = checked(model(f"{{max: 4, learn: {learn}}}"), f"paths.run={tmp_path}", "neuron.backend=torch")
        made = build(config)
        assert sum(isinstance(callback, DelayAnnealing) for callback in made.trainer.callbacks) == count
