"""Every YAML in conf/ composes, passes the check, and builds what it says."""

from pathlib import Path

import pytest
import torch
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sampled import sampled
from small_training import in_a_loop

from snntrain import registry
from snntrain.config import CONF, compose
from snntrain.config.check import check
from snntrain.config.folders import SEARCHES, groups
from snntrain.config.schema import top_level_keys
from snntrain.error import UsageError
from snntrain.lab.sweep.launch import check_launchers
from snntrain.model.choice import build_neuron
from snntrain.run.build import build_net, build_task
from snntrain.task.optimizer import configure

FILES = sorted(CONF.rglob("*.yaml"))
# The choices of these groups have nothing to do with each other: the n-th ones of each are composed together. Models,
# neurons and surrogates are composed where nets are built of them.
INDEPENDENT = ("data", "norm", "optim", "optim/schedule", "logger", "trainer")
TOGETHER = [
    [(group, choices[place % len(choices)]) for group in INDEPENDENT if (choices := groups()[group])]
    for place in range(max(len(groups()[group]) for group in INDEPENDENT))
]
ONE_BY_ONE = [
    [(group, choice)]
    for group, choices in groups().items()
    if group not in (*INDEPENDENT, "model", "neuron", "surrogate")
    for choice in choices
]
CHOICES = {" ".join("=".join(chosen) for chosen in choices): choices for choices in (*TOGETHER, *ONE_BY_ONE)}
# Files whose name says it all, and the keys they may hold without a word of explanation at the top.
SELF_EXPLANATORY = {
    "callbacks/default": ["best_checkpoint", "spike_statistics", "progress"],
    "debug/none": ["traceback"],
    "optim/adamw": ["defaults", "_target_", "lr", "weight_decay"],
    "optim/sgd": ["defaults", "_target_", "lr", "momentum", "weight_decay"],
    "task/classification": ["_target_", "outputs", "population", "readout", "loss", "metrics", "label_smoothing"],
    "trainer/cpu": [
        "_target_",
        "accelerator",
        "devices",
        "max_epochs",
        "precision",
        "gradient_clip_val",
        "log_every_n_steps",
    ],
    "trainer/gpu": ["defaults", "accelerator"],
}
SMALLER = {"vgg5": ["model.features=64"], "vgg9": ["model.features=64"]}
FACTS = ("data.num_classes=10", "data.sample_shape=[1,8,8]")
# Data whose samples have no single class → the task that learns what they have.
TASKS = {
    **dict.fromkeys(("copy", "noisy_sine", "parity"), "sequence"),
    "mackey_glass": "forecast",
    **dict.fromkeys(("diabetes", "friedman1"), "regression"),
    "mnist_pairs": "multilabel",
}
DATA = {
    "forecast": ("data=mackey_glass",),
    "sequence": ("data=parity",),
    "regression": ("data=diabetes",),
    "multilabel": ("data=mnist_pairs",),
}
SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28)}


def choose(group: str, choice: str) -> list[str]:
    if (group, choice) == ("encoder", "frames"):
        return ["encoder=frames", "data=nmnist"]  # pictures have no frames
    if (group, choice) == ("data", "custom"):
        data = "{_target_: torch.utils.data.TensorDataset}"
        return ["data=custom", *(f"data.{key}={data}" for key in ("train", "test")), *FACTS, "trust=true"]
    if (group, choice) == ("data", "timeseries_folder"):
        return ["data=timeseries_folder", *FACTS]
    if group == "data" and choice in TASKS:
        return [f"data={choice}", f"task={TASKS[choice]}"]
    if group == "task" and choice in DATA:
        return [f"task={choice}", *DATA[choice]]
    return [f"{group}=[{choice}]"] if group == "callbacks" else [f"{group}={choice}"]


@pytest.mark.parametrize("choices", sampled(CHOICES.values(), 3), ids=CHOICES)
def test_every_choice_composes_and_passes_the_check(choices):
    overrides = [override for chosen in choices for override in choose(*chosen)]
    try:
        check_launchers(overrides)
    except UsageError as missing:
        pytest.skip(str(missing))
    config = check(compose(overrides))
    config["hydra"] = OmegaConf.to_container(HydraConfig.get(), resolve=False, enum_to_str=True)
    for group, choice in choices:
        check_covered(config, group, choice)


def check_covered(config: dict, group: str, choice: str) -> None:
    """What the file of a choice says must stand in the composed config."""
    text = (CONF / group / f"{choice}.yaml").read_text(encoding="utf-8")
    file, node = yaml.safe_load(text), config
    for part in [] if text.startswith("# @package _global_") else group.split("/"):
        node = node[part]
    chosen = {"defaults", *(("num_classes",) if choice == "timeseries_folder" else ())}  # FACTS has another one
    written = {
        key: value for key, value in file.items() if key not in chosen and "${" not in str(value) and value != "???"
    }
    assert {key: value for key, value in written.items() if not covers(node.get(key), value)} == {}


def covers(composed: object, written: object) -> bool:
    """Whether a composed value is what the file says; a global file sets some keys of a section only."""
    if isinstance(written, dict) and isinstance(composed, dict):
        return all(covers(composed.get(key), value) for key, value in written.items())
    return composed == written


@pytest.mark.parametrize("file", FILES, ids=[file.relative_to(CONF).with_suffix("").as_posix() for file in FILES])
def test_every_file_says_what_it_is_for(file: Path):
    name = file.relative_to(CONF).with_suffix("").as_posix()
    text = file.read_text(encoding="utf-8")
    first = next(line for line in text.splitlines() if not line.startswith("# @package"))
    unexplained = set(yaml.safe_load(text)) - set(SELF_EXPLANATORY.get(name, ()))
    assert first.startswith("# ") or not unexplained, f"{name} needs a comment at its top"
    assert "\t" not in text and text.endswith("\n") and not text.endswith("\n\n")


@pytest.mark.parametrize("file", FILES, ids=[file.relative_to(CONF).with_suffix("").as_posix() for file in FILES])
def test_no_key_is_written_twice(file: Path):
    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), keys
            return super().construct_mapping(node, deep)

    yaml.load(file.read_text(encoding="utf-8"), Strict)


def test_the_listed_choices_are_those_that_hydra_finds():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        folders = [folder.relative_to(CONF).as_posix() for folder in CONF.rglob("*") if folder.is_dir()]
        found = {group: sorted(loader.get_group_options(group)) for group in folders if group != SEARCHES}
    assert groups() == found
    only_choosing = {"launch", "experiment"}  # they set keys of others
    assert {group.split("/")[0] for group in groups()} <= set(top_level_keys()) | only_choosing


@pytest.mark.parametrize(("kind", "group"), [("surrogate", "surrogate"), ("encoder", "encoder"), ("neuron", "neuron")])
def test_every_registered_class_has_a_file_of_its_own(kind, group):
    named = [yaml.safe_load(file.read_text(encoding="utf-8"))["name"] for file in (CONF / group).glob("*.yaml")]
    assert sorted(named) == registry.names(kind)


# The small ones with every neuron, which gets both data sets; the others once: tests/unit/model/test_zoo.py tries their
# neurons.
COMBINATIONS = [
    *(
        (model, neuron, list(SHAPES)[(place + number) % 2])
        for place, neuron in enumerate(groups()["neuron"])
        for number, model in enumerate(("csnn", "mlp"))
    ),
    *(
        (model, "cuba_lif" if model == "csnn_loihi" else "lif", "digits")
        for model in groups()["model"]
        # Some models have tests of their own: forecast tells values (unit/task/test_forecast.py), nir wants a file
        # (unit/export/test_nir_model.py).
        if model not in ("csnn", "mlp", "forecast", "nir")
    ),
]


@pytest.mark.parametrize(("model", "neuron", "data"), sampled(COMBINATIONS, 5))
def test_every_model_takes_every_neuron_and_data_set_through_one_training_step(model, neuron, data):
    config = check(compose([f"model={model}", f"neuron={neuron}", f"data={data}", "T=2", *SMALLER.get(model, ())]))
    check_covered(check(compose([f"model={model}"])) if model in SMALLER else config, "model", model)
    check_covered(config, "neuron", neuron)
    config["neuron"] = in_a_loop(config["neuron"])
    assert tuple(config["data"]["sample_shape"]) == SHAPES[data]
    if "m" not in build_neuron(config["neuron"]).supported_step_mode():
        with pytest.raises(UsageError, match=r"model\.layers\[\d\] neuron: \w+: step_mode"):
            build_task(config)
        return
    task = build_task(config)
    optimizer = task.configure_optimizers()["optimizer"]
    x, y = torch.rand(3, *SHAPES[data]), torch.tensor([0, 9, 5])
    before = {name: parameter.detach().clone() for name, parameter in task.named_parameters()}
    y_seq = task(x)
    assert y_seq.shape == (1 if neuron == "relu" else 2, 3, config["data"]["num_classes"])
    task.compute_loss(y_seq, y).backward()
    assert {name for name, parameter in task.named_parameters() if parameter.grad is None} == set()
    optimizer.step()
    assert all(parameter.isfinite().all() for parameter in task.parameters())
    last = [name for name in before if name.startswith("net.")][-1]
    assert not torch.equal(before[last], dict(task.named_parameters())[last])


@pytest.fixture(scope="module")
def with_sigmoid() -> dict[str, dict]:
    """Name → settings of neurons with another surrogate than the default."""
    composed = {name: check(compose([f"neuron={name}", "surrogate=sigmoid"])) for name in ("if", "lif", "plif")}
    return {name: in_a_loop(config["neuron"]) for name, config in composed.items()}


@pytest.mark.parametrize("surrogate", sampled(groups()["surrogate"], 3))
def test_every_surrogate_carries_a_gradient_through_every_spiking_neuron(surrogate, with_sigmoid):
    config = check(compose(["model=mlp", "model.features=64", f"surrogate={surrogate}", "T=3"]))
    check_covered(config, "surrogate", surrogate)
    assert config["neuron"]["surrogate_function"] == config["surrogate"]
    for neuron in with_sigmoid.values():
        assert neuron["surrogate_function"]["name"] == "Sigmoid"
        net = build_net({**config, "neuron": {**neuron, "surrogate_function": config["surrogate"]}})
        assert type(net.layers[2].surrogate_function).__name__ == config["surrogate"]["name"]
        torch.manual_seed(0)
        net(4 * torch.rand(3, 5, 1, 8, 8)).square().mean().backward()
        gradient = net.layers[1].weight.grad
        assert gradient.isfinite().all() and gradient.count_nonzero() > 0


@pytest.mark.parametrize("optim", groups()["optim"])
@pytest.mark.parametrize("schedule", groups()["optim/schedule"])
def test_every_optimizer_runs_with_every_schedule(optim, schedule):
    config = check(compose([f"optim={optim}", f"optim/schedule={schedule}", "trainer.max_epochs=20"]))
    made = configure(torch.nn.Linear(2, 2), config["optim"])
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([1.0] if schedule == "plateau" else []))
    if schedule == "warmup_cosine":  # within these steps it still rises
        assert rates == sorted(rates) and rates[0] == pytest.approx(config["optim"]["lr"] / 21)
        return
    assert rates[0] == config["optim"]["lr"]
    assert (rates[-1] < rates[0]) == (schedule != "none")
    if schedule == "cosine":  # Loshchilov & Hutter, 2017, down to 0 after the last epoch
        assert rates[10] == pytest.approx(rates[0] / 2)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("choice", ["early_stopping", "default"])
def test_callbacks_watch_the_monitored_metric(choice, tmp_path):
    config = check(
        compose([f"callbacks=[{choice}]", f"paths.run={tmp_path}", "monitor.metric=val/loss", "monitor.mode=min"])
    )
    built = [instantiate(settings, _convert_="all") for settings in config["callbacks"].values()]
    watching = [callback for callback in built if hasattr(callback, "monitor")]
    assert [(callback.monitor, callback.mode) for callback in watching] == [("val/loss", "min")]


def test_nested_keys_are_set_without_a_plus():
    config = check(compose(["neuron.v_threshold=0.5", "trainer.accumulate_grad_batches=2", "neuron.store_v_seq=true"]))
    assert config["neuron"]["v_threshold"] == 0.5 and config["neuron"]["store_v_seq"] is True
    assert config["trainer"]["accumulate_grad_batches"] == 2


def test_a_debug_choice_changes_the_trainer_and_nothing_else():
    plain = check(compose())
    for choice, changed in (
        ("fast", {"max_epochs", "limit_train_batches", "limit_val_batches", "limit_test_batches"}),
        ("overfit", {"max_epochs", "overfit_batches"}),
        ("profile", {"max_epochs", "profiler"}),
    ):
        config = check(compose([f"debug={choice}"]))
        same = {key for key in plain if config[key] == plain[key]}
        assert {key for key in plain if key not in same} - {"optim"} == {"trainer", "debug"}, choice
        keys = plain["trainer"].keys() | config["trainer"].keys()
        assert {key for key in keys if config["trainer"].get(key) != plain["trainer"].get(key)} == changed
        assert config["debug"] == {"traceback": True}


def test_an_override_on_the_command_line_wins_over_a_debug_choice():
    assert check(compose(["debug=overfit"]))["trainer"]["max_epochs"] == 100
    assert check(compose(["debug=overfit", "trainer.max_epochs=3"]))["trainer"]["max_epochs"] == 3


def test_a_gpu_trainer_differs_from_the_cpu_trainer_in_the_accelerator_only():
    cpu, gpu = (check(compose([f"trainer={choice}"]))["trainer"] for choice in ("cpu", "gpu"))
    assert gpu == {**cpu, "accelerator": "gpu"}
