"""conf/search/*.yaml and the command line: what is refused, and in which words."""

import dataclasses

import pytest
import yaml

from snntrain.config import compose
from snntrain.config.compose import SEARCHES, groups
from snntrain.error import UsageError
from snntrain.lab.search.command import parse
from snntrain.lab.search.settings import load_search, searches
from snntrain.lab.search.space import as_overrides, try_ends

GOOD = {
    "study": "s",
    "n_trials": 4,
    "overrides": ["model=mlp", "T=2"],
    "parameters": {"neuron.tau": {"type": "float", "low": 1.5, "high": 8.0, "log": True}},
    "objectives": [{"metric": "val/acc", "direction": "maximize"}],
}


def load(tmp_path, changed: dict | None = None, *overrides: str, **settings: object):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(GOOD | (changed or {})), encoding="utf-8")
    return load_search(str(file), settings, overrides)


def parameter(**settings: object) -> dict:
    return {"parameters": {"neuron.tau": settings}}


WRONG = {
    "unknown setting": ({"pruned": {}}, r"search\.pruned is not an argument of Search\. Did you mean pruner\?"),
    "no parameters": ({"parameters": {}}, "parameters and objectives need at least one entry"),
    "type": (parameter(type="flot", low=1, high=2), r"type must be .*float.*'flot'"),
    "low above high": (
        parameter(type="float", low=3.0, high=2.0),
        "low must be less than high, got low 3.0 and high 2",
    ),
    "low is high": (parameter(type="int", low=2, high=2), "low must be less than high"),
    "log from zero": (parameter(type="float", low=0.0, high=2.0, log=True), "needs low > 0, got 0.0"),
    "log and step": (parameter(type="float", low=1.0, high=2.0, log=True, step=0.1), "exclude each other"),
    "step": (parameter(type="float", low=1.0, high=2.0, step=-0.1), r"step must be a number > 0"),
    "int of floats": (parameter(type="int", low=1.5, high=3), "low must be an integer, got 1.5"),
    "not finite": (parameter(type="float", low=1.5, high=float("inf")), "high must be a finite number, got inf"),
    "no bounds": (parameter(type="float", low=1.5), "high must be a finite number, got None"),
    "choices of a number": (parameter(type="float", low=1.5, high=3, choices=[1, 2]), "choices belong to type cat"),
    "bounds of a choice": (parameter(type="categorical", low=1, choices=[1, 2]), "low belong to type float or int"),
    "one choice": (parameter(type="categorical", choices=[2.0]), "two or more different values"),
    "true is 1": (parameter(type="categorical", choices=[1, True]), "two or more different values"),
    "list as choice": (parameter(type="categorical", choices=[[1], [2]]), r"quote a list"),
    "mistyped bound": (parameter(type="float", lwo=1, high=2), r"parameters\.neuron\.tau\.lwo .*Did you mean low\?"),
    "direction": (
        {"objectives": [{"metric": "val/acc", "direction": "maximise"}]},
        r"direction must be .*'maximise'",
    ),
    "metric twice": ({"objectives": GOOD["objectives"] * 2, "pruner": None}, "name a metric twice"),
    "pruner for two": (
        {"objectives": [*GOOD["objectives"], {"metric": "test/sops", "direction": "minimize"}], "pruner": {}},
        "Optuna cannot prune a study of several objectives. Write pruner: null",
    ),
    "n_trials": ({"n_trials": 0}, "n_trials must be an integer ≥ 1, got 0"),
    "study": ({"study": "a/b"}, "study becomes a folder's name"),
    "sampler": ({"sampler": {"type": "grid"}}, r"sampler\.type must be tpe or random, got 'grid'"),
    "override is a parameter": ({"overrides": ["neuron.tau=3"]}, "neuron.tau is a parameter of this search"),
    "override of the folder": ({"overrides": ["resume=auto"]}, "resume cannot be set for the runs of a search"),
    "sweep": ({"overrides": ["seed=1,2"]}, r"several are choices: parameters\.seed"),
    "searched folder": (
        {"parameters": {"paths.runs": {"type": "categorical", "choices": ["a", "b"]}}},
        "paths.runs cannot be searched",
    ),
}


@pytest.mark.parametrize(("changed", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_with_its_place(tmp_path, changed, said):
    with pytest.raises(UsageError, match=said) as error:
        load(tmp_path, changed)
    assert "mine.yaml" in str(error.value) and "\n" not in str(error.value)


UNFIT = {
    "mistyped parameter": (
        {"neuron.tua": GOOD["parameters"]["neuron.tau"]},
        r"neuron\.tua is not .*Did you mean tau\?",
    ),
    "below the neuron's range": (
        parameter(type="float", low=0.5, high=2.0)["parameters"],
        r"tau must be a finite number > 1, got 0\.5",
    ),
    "above an argument's range": (
        {"neuron.tau": GOOD["parameters"]["neuron.tau"], "seed": {"type": "int", "low": 1, "high": 2**33}},
        r"parameters\.seed: seed=8589934592: .*seed must be",
    ),
    "a choice that is none": (
        {"neuron": {"type": "categorical", "choices": ["lif", "plfi"]}},
        r"parameters\.neuron: neuron=plfi: .*Did you mean plif\?",
    ),
}


@pytest.mark.parametrize(("parameters", "said"), UNFIT.values(), ids=UNFIT)
def test_both_ends_of_every_parameter_are_tried_before_the_start(tmp_path, parameters, said):
    with pytest.raises(UsageError, match=said):
        try_ends(load(tmp_path, {"parameters": parameters}))


def test_the_objective_has_to_be_the_monitored_metric(tmp_path):
    changed = {"objectives": [{"metric": "val/loss", "direction": "minimize"}]}
    with pytest.raises(UsageError, match=r"Add monitor\.metric=val/loss monitor\.mode=min\."):
        try_ends(load(tmp_path, changed))
    try_ends(load(tmp_path, changed, "monitor.metric=val/loss", "monitor.mode=min"))


@pytest.mark.parametrize("name", searches())
def test_every_search_of_ours_fits_its_runs(name):
    search = load_search(name, {})
    config = try_ends(search)
    assert search.study == name and config["monitor"]["metric"] == search.objectives[0].metric


def test_an_unknown_search_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"Did you mean lif_tau\? Searches: lif_tau"):
        load_search("lif_tua", {})


def test_the_command_line_wins_over_the_file_and_later_overrides_over_earlier(tmp_path):
    search = load(tmp_path, {}, "T=5", "model=csnn", n_trials=7, study="other")
    assert (search.n_trials, search.study) == (7, "other")
    assert search.overrides == ["T=5", "model=csnn"]
    assert dataclasses.asdict(search.pruner)["type"] == "median"


def test_values_are_written_as_on_a_command_line():
    values = {"a.b": 1e-05, "neuron": "plif", "c": True, "d": None, "T": 3}
    assert as_overrides(values) == ["a.b=1e-05", "neuron=plif", "c=true", "d=null", "T=3"]
    assert compose(["optim.lr=1e-05"]).optim.lr == 1e-05


def test_a_search_is_no_group_of_a_run():
    assert SEARCHES.is_dir() and "search" not in groups()
    with pytest.raises(UsageError, match=r"start it with python scripts/tune\.py search=lif_tau"):
        compose(["search=lif_tau"])


def test_a_command_line_is_parsed():
    command = parse(["search=lif_tau", "workers=2", "n_trials=9", "storage=a.log", "T=2"])
    assert (command.name, command.workers, command.overrides) == ("lif_tau", 2, ["T=2"])
    assert command.changed == {"n_trials": 9, "storage": "a.log"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["workers=2"], "search=… is missing"),
        (["search=lif_tau", "worker=2"], r"'worker=2' is not a setting\. Did you mean workers\?"),
        (["search=lif_tau", "workers=0"], "workers must be an integer ≥ 1, got '0'"),
        (["search=lif_tau", "n_trials=many"], "n_trials must be an integer ≥ 1, got 'many'"),
        (["search=lif_tau", "-m"], "'-m' is not a setting"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments, said):
    with pytest.raises(UsageError, match=said):
        parse(arguments)
