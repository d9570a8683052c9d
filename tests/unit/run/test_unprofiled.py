"""A run that no profiler was chosen for: nothing is measured, and errors in what would be measured come through."""

import pytest
from lightning.pytorch.profilers import PassThroughProfiler, SimpleProfiler

from snntrain.run.build import build_trainer
from snntrain.run.unprofiled import Unprofiled


@pytest.mark.parametrize(
    ("chosen", "kind"),
    [
        ({}, Unprofiled),
        ({"profiler": None}, Unprofiled),
        ({"profiler": "simple"}, SimpleProfiler),
        ({"profiler": {"_target_": "lightning.pytorch.profilers.SimpleProfiler"}}, SimpleProfiler),
    ],
    ids=str,
)
def test_a_run_has_the_profiler_of_its_config_or_none(tmp_path, chosen, kind):
    settings = {"_target_": "lightning.Trainer", "accelerator": "cpu", **chosen}
    built = build_trainer({"trainer": settings, "paths": {"run": str(tmp_path)}}, [], logger=False)
    assert type(built.profiler) is kind


@pytest.mark.parametrize("profiler", [Unprofiled(), PassThroughProfiler()], ids=lambda one: type(one).__name__)
def test_contexts_lie_in_one_another_and_pass_errors_on(profiler):
    done = []
    with pytest.raises(KeyError, match="inside"), profiler.profile("outer"), profiler.profile("inner"):
        done.append(1)
        raise KeyError("inside")
    with profiler.profile("outer"):
        done.append(2)
    assert done == [1, 2]
