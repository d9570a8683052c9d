"""A `_target_` names a class of the kind that belongs in its place, and nothing that could run a file."""

from pathlib import Path

import pytest
import torch
from checked import checked, refusal
from hydra.utils import instantiate

from snntrain.config.check import check_resolved
from snntrain.config.targets import check_stray_targets
from snntrain.error import UsageError


class Payload:
    """Unpickled, it leaves a file behind."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self):
        return open, (str(self.ran), "w")


WRONG_KINDS = {
    "a function that unpickles": ("data._target_=torch.load", "data._target_ 'torch.load'"),
    "a function that fetches code": ("task._target_=torch.hub.load", "task._target_ 'torch.hub.load'"),
    "a function that compiles": ("optim._target_=torch.utils.cpp_extension.load", "cpp_extension.load"),
    "a program": ("trainer._target_=torch.distributed.run.main", "torch.distributed.run.main"),
    "a class of another kind": ("trainer._target_=torch.optim.SGD", "(Trainer)"),
    "an optimizer as schedule": ("optim.schedule._target_=torch.optim.SGD", "(LRScheduler)"),
    "a trainer as callback": ("+callbacks.x={_target_: lightning.pytorch.Trainer}", "(Callback)"),
    "a net as logger": ("logger._target_=torch.nn.Identity", "(Logger)"),
    "a function as argument": ("trainer.profiler={_target_: torch.jit.load, f: x}", "trainer.profiler._target_"),
    "one in a list": ("trainer.plugins=[{_target_: torch.classes.load_library, path: x}]", "trainer.plugins[0]"),
    "a net as argument": ("trainer.profiler={_target_: torch.nn.Linear}", "torch.nn.Linear"),
    "something private": ("optim._target_=torch._utils._rebuild_tensor", "private"),
    "a module that is a program": ("optim._target_=torch.utils.bottleneck.__main__.main", "private"),
}


@pytest.mark.parametrize(("override", "said"), WRONG_KINDS.values(), ids=WRONG_KINDS)
def test_only_classes_of_the_right_kind_are_built(override, said):
    refused = refusal(override)
    assert said in refused and ("trust=true" in refused or "cannot be imported" in refused)


def test_a_pickle_named_in_an_argument_is_not_loaded(tmp_path):
    torch.save(Payload(tmp_path / "ran"), tmp_path / "x.pt")
    load = f"{{_target_: torch.load, f: '{tmp_path / 'x.pt'}', weights_only: false}}"
    for place in ("trainer.profiler={}", "trainer.plugins=[{}]", "+callbacks.ema={}", "optim.schedule.eta_min={}"):
        assert "torch.load" in refusal(place.replace("{}", load))
    assert not (tmp_path / "ran").exists()
    said = refusal("trust=true", "trainer.profiler={_target_: torch.load}")  # the other checks hold
    assert "load needs the argument f" in said
    torch.load(tmp_path / "x.pt", weights_only=False)
    assert (tmp_path / "ran").exists()  # the payload works


@pytest.mark.parametrize("key", ["_args_: [1]", "_partial_: true", "_recursive_: false", "_convert_: all"])
def test_hydra_is_not_told_to_call_in_another_way_than_was_checked(key):
    said = refusal(f"+callbacks.x={{_target_: lightning.pytorch.callbacks.Timer, {key}}}")
    assert f"callbacks.x.{key.split(':')[0]}" in said


@pytest.mark.parametrize(
    "override",
    [
        "neuron.surrogate_function={_target_: os.system, command: x}",
        "model.layers=[{name: Linear, out_features: {_target_: os.system}}]",
        "+debug.x={_target_: os.system}",
        "+norm.x=[[{_target_: os.system}]]",
    ],
)
def test_a_target_where_nothing_is_built_from_one_is_refused(override):
    said = refusal(override)
    assert "_target_" in said or "not an argument" in said


def test_a_net_given_as_a_target_is_told_how_it_is_registered():
    with pytest.raises(UsageError, match=r"write @register\('model'\) above its class"):
        check_stray_targets({"model": {"_target_": "mine.MyNet"}})


def test_a_placeholder_left_in_a_resolved_config_is_refused(tmp_path):
    """Hydra would resolve it once more when it builds, behind the check, as the last lines show."""
    ran = tmp_path / "ran"
    hidden = f"${{oc.create:{{_target_: pathlib.Path.touch, self: {{_target_: pathlib.Path, _args_: [{ran}]}}}}}}"
    config = checked()
    config["trainer"]["profiler"] = hidden
    with pytest.raises(UsageError, match=r"trainer\.profiler holds"):
        check_resolved(config)
    assert not ran.exists()
    built = instantiate({"_target_": "builtins.dict", "x": "${oc.create:{_target_: builtins.list}}"})
    assert built == {"x": []}
