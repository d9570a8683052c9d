"""Every number of conf/ and of the classes it names, with eight nonsense values: refused by its key, or legal."""

import fnmatch
import math
import typing
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snntrain import registry
from snntrain.config import CONF, compose
from snntrain.config.binding import resolve_name
from snntrain.config.check import SUPPLIED, check
from snntrain.config.folders import groups
from snntrain.data.augmentation import v2
from snntrain.error import UsageError
from snntrain.ranges import range_of
from snntrain.run.build import build_callbacks, build_task, check_fit_end, make_data
from snntrain.run.dry_pass import dry_pass
from snntrain.run.parallel.devices import check_devices
from snntrain.run.run import quieten_lightning
from snntrain.signature import signature_of
from snntrain.tree import walk

VALUES = {
    "0": 0,
    "-1": -1,
    "nan": math.nan,
    "inf": math.inf,
    "1e20": 1e20,
    "text": "many",
    "null": None,
    "true": True,
}
SMALL = ["model=mlp", "model.features=8", "T=2", "trainer.max_epochs=2", "paths.run=none"]

# Command line → the keys below which every number is tried.
COMMANDS: dict[str, list[str]] = {
    "": ["data", "task", "optim", "trainer", "logger", "callbacks", "model", "norm"],
    "model=csnn model.features=8 model.channels=2": ["model"],
    "model=recurrent model.features=8": ["model"],
    "optim=sgd": ["optim"],
    **{f"optim/schedule={choice}": ["optim.schedule"] for choice in groups()["optim/schedule"]},
    **{f"encoder={choice}": ["encoder"] for choice in groups()["encoder"] if choice != "frames"},
    **{f"surrogate={choice}": ["surrogate"] for choice in groups()["surrogate"]},
    **{f"norm={choice} model=csnn model.features=8 model.channels=2": ["norm"] for choice in groups()["norm"]},
    **{f"neuron={choice}": ["neuron"] for choice in groups()["neuron"] if choice not in ("ottt_lif", "sltt_lif")},
    "task=online neuron=sltt_lif": ["task", "neuron"],
    "task=online neuron=ottt_lif": ["neuron"],
    "callbacks=[default,early_stopping,ema]": ["callbacks"],
    "callbacks=[default,qat]": ["callbacks.qat"],
    "callbacks=[default,ann2snn] neuron=relu": ["callbacks.ann2snn"],
    "callbacks=[default,qat,lava] callbacks.qat.quant=loihi": ["callbacks.lava"],
    "callbacks=[default,nir]": ["callbacks.nir"],
    "callbacks=[default,qat,c]": ["callbacks.c"],
    "data=nmnist": ["data.framing", "data"],
    "data=image_folder data/augment=cifar data.num_classes=10 data.size=8": ["data"],
    "data=digits data/augment=cifar_autoaugment": ["data.augment"],
}
# Arguments that other keys decide, or that are tried under another command.
ELSEWHERE = ("*.seed", "data.num_classes", "data.sample_shape*", "*.surrogate_function*", "*.quant_params*")

# Keys, values, and why they pass.
_OFF = "what it stands for is left out"
_ANY = "a finite number, as the class documents; a net that is silent, saturated or diverges is told of in training"
LEGAL: list[tuple[str, str, str]] = [
    ("data.num_workers", "0", "the batches are made in the process itself"),
    ("data.split", "0", _OFF),
    ("data.num_targets", "null", "these data have classes"),
    ("data.fold*", "null", _OFF),
    ("data.background", "null", "transparency is ignored"),
    ("data*.padding", "0 null", _OFF),
    ("data.augment.*", "0 null", _OFF),
    ("data.augment.*.ratio*", "1e20", "a rectangle as wide as it gets"),
    ("data.cache_gb", "1e20", "a cache may take the whole disk"),
    ("data.framing.window", "null", "the mode needs none"),
    ("data.framing.tau", "null", "the mode needs none"),
    ("logger.version", "0 text null", "a version may have any name"),
    ("callbacks.best_checkpoint.every_n_train_steps", "0 null", _OFF),
    ("callbacks.best_checkpoint.every_n_epochs", "null", _OFF),
    ("callbacks.best_checkpoint.save_top_k", "0 -1", "none or all are kept; without one the last weights are tested"),
    ("callbacks.early_stopping.patience", "0", "the first epoch that is no better ends the run"),
    ("callbacks.early_stopping.min_delta", "0 1e20", _ANY),
    ("callbacks.early_stopping.*_threshold", "0 -1 1e20 null", _ANY),
    ("callbacks.ema.decay", "0", "the average is the last weights"),
    ("callbacks.running_statistics.until", "0", _OFF),
    ("optim.lr", "0 1e20", _ANY),
    ("optim.weight_decay", "0 1e20", _ANY),
    ("optim.eps", "1e20", _ANY),
    ("optim.momentum", "0", _OFF),
    ("optim.dampening", "0", _OFF),
    ("optim.schedule.eta_min", "0", "the rate falls to nothing at the end"),
    ("optim.schedule.patience", "0", "the first epoch that is no better lowers the rate"),
    ("optim.schedule.threshold", "0 1e20", _ANY),
    ("optim.schedule.min_lr", "0 1e20", "the rate may fall to nothing, or stays as it is"),
    ("optim.schedule.eps", "0 1e20", _ANY),
    ("optim.schedule.cooldown", "0", _OFF),
    ("optim.schedule.warmup", "0", _OFF),
    ("optim.schedule*.factor", "0", _ANY),
    ("optim.schedule*.gamma", "0 1e20", _ANY),
    ("optim.schedule.total_iters", "0", _OFF),
    ("optim.schedule.last_epoch", "-1", "the default, and the only value"),
    ("task.chunk", "null", "the whole sequence at once"),
    ("task.gradient_clip_val", "null 1e20", _OFF),
    ("task.mixup", "0 1e20", "any share of two samples, down to none and up to a half"),
    ("task.cutmix", "0 1e20", "any share of two samples, down to none and up to a half"),
    ("task.label_smoothing", "0", _OFF),
    ("task.readout_tau", "1e20", _ANY),
    ("task.tet_weight", "0", _OFF),
    ("task.tet_potential", "0 -1 1e20", "the loss that reads it is another one, which the run says"),
    ("trainer.devices", "-1", "all there are"),
    ("trainer.fast_dev_run", "0 true", "one batch of everything"),
    ("trainer.gradient_clip_val", "null 1e20", _OFF),
    ("trainer.limit_*", "null", "all of them"),
    ("trainer.limit_predict_batches", "0", "a run predicts nothing"),
    ("trainer.log_every_n_steps", "0 null", _OFF),
    ("trainer.max_steps", "-1", "as many as the epochs have"),
    ("trainer.min_*", "0 null", _OFF),
    ("trainer.num_sanity_val_steps", "0 -1 null", "none, or all of them"),
    ("trainer.overfit_batches", "0", _OFF),
    ("trainer.reload_dataloaders_every_n_epochs", "0", _OFF),
    ("trainer.val_check_interval", "null", "the default"),
    ("model.gain", "0 -1 1e20", _ANY),
    ("model.layers*.padding", "0", _OFF),
    ("model.layers*.momentum", "0 null", "the statistics stay, or are those of all batches"),
    ("norm.*momentum", "0 null", "the statistics stay, or are those of all batches"),
    ("norm.*", "1e20", _ANY),
    ("encoder.*", "0 -1 1e20 null", _ANY),
    ("surrogate.grad_window", "null", "the default"),
    ("surrogate.*", "0 -1 1e20", _ANY),
    ("neuron.*", "0 -1 1e20 null", _ANY),
    ("callbacks.qat.epochs", "0", _OFF),
    ("callbacks.qat.lr", "null 1e20", "a tenth of optim.lr, or any"),
    ("callbacks.qat.verify_samples", "0", _OFF),
    ("callbacks.qat.sensitivity_batches", "0", _OFF),
    ("callbacks.lava.lava_samples", "0", _OFF),
    ("callbacks.lava.timeout", "1e20", "seconds without an end"),
    ("callbacks.nir.dt", "1e20", _ANY),
    ("callbacks.nir.tolerance", "0", "no spike may differ"),
]
# The other end of a range, which the sentence names instead.
OTHER_END = {"vth_init_l": "vth_init_h", "x_min": "x_max", "v_reset": "v_threshold", "size": "sample_shape"}


def numbers(config: DictConfig, below: str) -> Iterator[str]:
    """Keys of the numbers that stand in the config, and of those that a class would take."""
    # Numbers of a model's layers that follow a key of the model are tried as that key.
    resolved = OmegaConf.to_container(config, resolve=below != "model")
    node = resolved
    for part in below.split("."):
        node = node[part]
    for key, _, value in walk(node, below):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield key
    for path, owner in owners(node, below):
        for name in numeric_arguments(owner):
            if name not in SUPPLIED.get(path, ()):
                yield f"{path}.{name}"


def owners(node: Any, path: str) -> Iterator[tuple[str, type]]:
    """(place, class) of everything that is built below a node."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, resolve_name(node["_target_"], path)
        elif path in ("neuron", "surrogate", "encoder"):
            yield path, registry.get(path, node["name"])
        for key, value in node.items():
            if key not in ("surrogate_function", "layers"):
                yield from owners(value, f"{path}.{key}")


def numeric_arguments(owner: type) -> list[str]:
    return [name for name, taken in signature_of(owner).parameters.items() if holds_a_number(taken.annotation)]


def holds_a_number(annotation: Any) -> bool:
    inner = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Literal, dict):
        return False
    return annotation in (int, float) or any(map(holds_a_number, inner))


def said(config: DictConfig, key: str, value: Any) -> str | None:
    """What the program says, before any data are read; None: nothing, it would train."""
    config = config.copy()
    try:
        OmegaConf.update(config, key, value, force_add=True)
        settings = check(config)
        check_devices(settings)
        task = build_task(settings)
        check_fit_end(build_callbacks(settings), task, settings)
        make_data(settings)
        dry_pass(task, settings)
    except (UsageError, OmegaConfBaseException) as error:
        return str(error)
    return None


def judged(config: DictConfig, key: str, name: str) -> str | None:
    """What is wrong with the answer to a value; None: nothing."""
    answer = said(config, key, VALUES[name])
    last = key.split(".")[-1].split("[")[0]
    if answer is not None:
        names_it = (last in answer or OTHER_END.get(last, last) in answer) and key.split(".")[0] in answer
        return None if names_it and "\n" not in answer else f"{key}={name}: {answer}"
    is_known = any(fnmatch.fnmatch(key, pattern) and name in values.split() for pattern, values, _ in LEGAL)
    return None if is_known else f"{key}={name}: passes"


def composed(command: str) -> DictConfig:
    words = command.split()
    neuron = next((word.partition("=")[2] for word in words if word.startswith("neuron=")), "lif")
    name = yaml.safe_load((CONF / "neuron" / f"{neuron}.yaml").read_text(encoding="utf-8"))["name"]
    # Without a kernel for each value of each constant.
    in_a_loop = "backend" in signature_of(registry.get("neuron", name)).parameters
    own = {word.partition("=")[0] for word in words}
    small = [word for word in SMALL if word.partition("=")[0] not in own]
    return compose([*small, *words, *(["neuron.backend=torch"] if in_a_loop else [])])


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_nonsense_number_is_refused_by_its_key_or_legal(command):
    quieten_lightning()
    config = composed(command)
    keys = list(dict.fromkeys(key for below in COMMANDS[command] for key in numbers(config, below)))
    keys = [key for key in keys if not any(fnmatch.fnmatch(key, pattern) for pattern in ELSEWHERE)]
    wrong = [answer for key in keys for name in VALUES if (answer := judged(config, key, name)) is not None]
    assert wrong == []


@pytest.mark.parametrize("name", [name for name in VALUES if name not in ("text", "null", "true")])
@pytest.mark.parametrize("key", ["T", "seed"])
def test_the_two_numbers_at_the_root_take_integers_only(key, name):
    legal = key == "seed" and name == "0"
    try:
        check(compose([*SMALL, f"{key}={VALUES[name]}"]))
    except UsageError as error:
        assert key in str(error) and not legal
    else:
        assert legal


def library_classes() -> Iterator[tuple[str, type]]:
    """(file of conf/, class of another library) of all that the files name."""
    for file in sorted(CONF.rglob("*.yaml")):
        content, name = yaml.safe_load(file.read_text(encoding="utf-8")), file.relative_to(CONF).as_posix()
        for path, key, value in walk(content):
            if key == "_target_" and not str(value).startswith(("snntrain.", "hydra")):
                yield name, resolve_name(value, path)
        for entry in content.get("transforms", ()):
            yield name, getattr(v2, entry if isinstance(entry, str) else entry["name"])


def test_every_numeric_argument_of_a_library_that_conf_names_has_a_range():
    supplied = (name for names in SUPPLIED.values() for name in names)
    checked_elsewhere = {"devices", "precision", *supplied}  # snntrain.run.parallel.devices; a list of words
    without = {
        f"{file} {owner.__name__}.{name}"
        for file, owner in library_classes()
        for name in numeric_arguments(owner)
        if range_of(owner, name) is None and name not in checked_elsewhere
    }
    assert without == set(), "add them with snntrain.ranges.set_ranges"
