"""Refuses settings of different groups that exclude each other, and names both."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch.optim import lr_scheduler

from snntrain import registry
from snntrain.config.binding import resolve_name
from snntrain.config.monitor import check_direction, watchers
from snntrain.config.targets import offered_targets, target_given
from snntrain.data import ImageDataModule
from snntrain.data.event_datamodule import EventDataModule
from snntrain.data.target import Target
from snntrain.encoding import FramesEncoder, WeightedPhaseEncoder
from snntrain.error import UsageError
from snntrain.model import layer_list
from snntrain.task.schedule import ALL

Settings = Mapping[str, Any]


def check_together(config: Settings) -> None:
    """Refuse settings that exclude each other. Each of them has passed its own check."""
    several = (_targets, _outputs, _sampler, _steps, _delays, _frames, _schedule, _clipping, _epochs, _validation)
    for refusals in several:
        for refusal in refusals(config):
            raise UsageError(refusal)
    for key, metric, mode_key, mode in watchers(config, resolve_name):
        check_direction(key, metric, mode_key, mode)


def _is(target: Callable[..., Any], *kinds: type) -> bool:
    """Whether a target is a class of one of these kinds. What a function returns is not known before the call."""
    return inspect.isclass(target) and issubclass(target, kinds)


def _targets(config: Settings) -> Iterator[str]:
    data, task = (resolve_name(config[group]["_target_"], group) for group in ("data", "task"))
    offered, wanted = offered_targets(data, config["data"]), getattr(task, "TARGET", None)
    if not offered or wanted is None:
        return
    if target_given(data, task, config["data"]) is not None:
        yield from _forecasts(config, data, task)
        return
    yield (
        f"task: {task.__name__} learns {wanted.value} of each sample, but data ({data.__name__}) has "
        f"{' or '.join(kind.value for kind in offered)}. Use {' or '.join(dict.fromkeys(map(_TASKS.get, offered)))}, "
        "or other data."
    )


def _forecasts(config: Settings, data: Callable[..., Any], task: Callable[..., Any]) -> Iterator[str]:
    horizon, predicted = config["task"].get("horizon"), config["data"].get("predicted")
    if getattr(data, "FOLLOWS", False) and not getattr(task, "FOLLOWS", False):
        yield f"task: data ({data.__name__}) is validated and tested on values after its inputs. Use task=forecast."
    if getattr(task, "FOLLOWS", False) and not getattr(data, "FOLLOWS", False):
        yield (
            f"task: {task.__name__} predicts the values after the inputs, but the targets of data ({data.__name__}) "
            "are those of its steps. Use task=sequence, or data=mackey_glass."
        )
    elif predicted is not None and horizon != predicted:
        yield f"task.horizon={horizon}, but data.predicted={predicted}. Leave out task.horizon, which follows it."


def _outputs(config: Settings) -> Iterator[str]:
    task, classes = config["task"], config["data"].get("num_classes")
    population, outputs = task.get("population", 1), task["outputs"]
    if population != 1 and classes is not None and outputs != classes * population:
        yield (
            f"task.outputs={outputs}, but {classes} classes of task.population={population} neurons have "
            f"{classes * population}. Leave out task.outputs, or write "
            "task.outputs=${mul:${data.num_classes},${task.population}}."
        )


def _sampler(config: Settings) -> Iterator[str]:
    if config["data"].get("sampler") is not None and config["trainer"].get("overfit_batches"):
        yield (
            f"data.sampler={config['data']['sampler']} draws other samples in every epoch, but trainer.overfit_batches="
            f"{config['trainer']['overfit_batches']} repeats the same ones. Leave out one of the two."
        )


_TASKS = {
    Target.CLASS: "task=classification",
    Target.VALUES: "task=regression",
    Target.LABELS: "task=multilabel",
    Target.STEP_CLASSES: "task=sequence",
    Target.STEP_VALUES: "task=sequence",
}


def _encoder(config: Settings) -> Callable[..., Any]:
    return registry.get("encoder", config["encoder"]["name"])


def _steps(config: Settings) -> Iterator[str]:
    T = config["T"]
    for group in ("neuron", "norm"):
        own = config[group].get("T", T)
        if own != T:
            yield f"{group}.T={own}, but T={T}: it sees the whole sequence. Leave out {group}.T, which follows T."
    phases = config["encoder"].get("phases")
    if _encoder(config) is WeightedPhaseEncoder and phases is not None and T % phases:
        yield f"encoder.phases={phases}, but T={T}: T must be a multiple of it. Leave out encoder.phases, or set T."


def _delays(config: Settings) -> Iterator[str]:
    model, T = config["model"], config["T"]
    for layer in layer_list.leaves(layer_list.parse(model["layers"], model.get("blocks"))) if "layers" in model else ():
        most = layer.delay.get("max", 0) if isinstance(layer.delay, Mapping) else 0
        if most > T:
            yield (
                f"{layer.path}.delay.max={most}, but T={T}: what is delayed by T steps or more never arrives. Use "
                f"max: {T} or less, or a larger T."
            )


def _frames(config: Settings) -> Iterator[str]:
    data, encoder = resolve_name(config["data"]["_target_"], "data"), _encoder(config)
    name, has_frames = config["encoder"]["name"], encoder is FramesEncoder
    if getattr(data, "HAS_STEPS", False) and not _is(data, EventDataModule):
        steps = config["data"].get("steps", config["T"])
        if not has_frames:
            yield f"encoder: data ({data.__name__}) gives sequences, a value for each step. Use encoder=frames."
        if steps != config["T"]:
            yield f"data.steps={steps}, but T={config['T']}: each step gets a value. Leave out data.steps."
    if _is(data, EventDataModule):
        frames = (config["data"].get("framing") or {}).get("T", config["T"])
        if not has_frames and encoder.__module__.startswith("snntrain."):
            yield f"encoder: {name} takes pictures, but data ({data.__name__}) gives frames. Use encoder=frames."
        if has_frames and frames != config["T"]:
            yield (
                f"data.framing.T={frames}, but T={config['T']}: each step gets a frame. Leave out data.framing.T, "
                "which follows T."
            )
    if _is(data, ImageDataModule) and not getattr(data, "HAS_STEPS", False) and has_frames:
        yield (
            f"encoder: {name} takes frames over time, but data ({data.__name__}) gives pictures. Use encoder=direct, "
            "or another that takes pictures."
        )


def _schedule(config: Settings) -> Iterator[str]:
    schedule, epochs = config["optim"]["schedule"], config["trainer"].get("max_epochs")
    target = resolve_name(schedule["_target_"], "optim.schedule")
    on_plateau, interval = _is(target, lr_scheduler.ReduceLROnPlateau), schedule.get("interval", "epoch")
    if on_plateau and not isinstance(schedule.get("monitor"), str):
        yield "optim.schedule: ReduceLROnPlateau needs a metric. Set optim.schedule.monitor, e.g. to val/loss."
    if on_plateau and (schedule.get("warmup") or interval != "epoch"):
        yield "optim.schedule: ReduceLROnPlateau has no warmup, and looks at its metric once per epoch. Leave both out."
    if schedule.get("monitor") is not None and not on_plateau:
        yield f"optim.schedule.monitor does nothing for {target.__name__}. Leave it out."
    if _is(target, lr_scheduler.ChainedScheduler):
        yield "optim.schedule: ChainedScheduler multiplies schedules, which a config cannot describe. Use SequentialLR."
    if _is(target, lr_scheduler.SequentialLR) != bool(schedule.get("schedules")):
        yield (
            "optim.schedule: SequentialLR is made of optim.schedule.schedules, a list, and no other schedule is; got "
            f"{target.__name__} with {len(schedule.get('schedules') or ())} of them."
        )
    if _is(target, lr_scheduler.LambdaLR, lr_scheduler.MultiplicativeLR):
        yield (
            f"optim.schedule: {target.__name__} takes a function, which no config holds. Use optim/schedule=cosine "
            "or step."
        )
    floor, rate = schedule.get("eta_min", 0.0), config["optim"].get("lr", 1.0)
    if floor > rate:
        yield f"optim.schedule.eta_min={floor} is more than optim.lr={rate}, from which the rate is to fall. Lower it."
    if _is(target, lr_scheduler.OneCycleLR):
        total = schedule.get("total_steps") or (schedule.get("epochs") or 0) * (schedule.get("steps_per_epoch") or 0)
        if total and total not in (epochs, ALL) and interval == "epoch":
            yield (
                f"optim.schedule: OneCycleLR is to take {total} steps, but it steps once per epoch, and "
                f"trainer.max_epochs={epochs}. Set optim.schedule.total_steps=all, or optim.schedule.interval=step."
            )


def _clipping(config: Settings) -> Iterator[str]:
    optim, trainer = config["optim"], config["trainer"]
    if not optim.get("fused") or trainer.get("precision") not in ("16-mixed", "16", 16):
        return
    for key, value in (
        ("trainer.gradient_clip_val", trainer.get("gradient_clip_val")),
        ("task.gradient_clip_val", config["task"].get("gradient_clip_val")),
    ):
        if value is not None:
            yield (
                f"{key}={value} and optim.fused=true with trainer.precision={trainer['precision']}: a fused optimizer "
                "unscales the gradients by itself, when it is too late to clip them. Set optim.fused=false."
            )


def _epochs(config: Settings) -> Iterator[str]:
    trainer = config["trainer"]
    for unit in ("epochs", "steps"):
        least, most = trainer.get(f"min_{unit}"), trainer.get(f"max_{unit}")
        if least is not None and most not in (None, -1) and least > most:
            yield f"trainer.min_{unit}={least} is more than trainer.max_{unit}={most}. Lower it, or raise the other."


def _validation(config: Settings) -> Iterator[str]:
    trainer = config["trainer"]
    epochs, every = trainer.get("max_epochs"), trainer.get("check_val_every_n_epoch", 1)
    interval = trainer.get("val_check_interval")
    if every is None and (not isinstance(interval, int) or isinstance(interval, bool)):
        yield (
            "trainer.check_val_every_n_epoch=null counts batches over all epochs: it needs trainer.val_check_interval "
            f"as an integer, got {'null' if interval is None else interval}."
        )
    watched = [(key, metric) for key, metric, _, _ in watchers(config, resolve_name) if metric.startswith("val/")]
    for key, metric in watched:
        if trainer.get("limit_val_batches") == 0 and not trainer.get("overfit_batches"):
            yield f"trainer.limit_val_batches=0 leaves no validation, but {key}={metric} needs one. Set one of the two."
        if every is not None and epochs is not None and every > epochs:
            yield (
                f"trainer.check_val_every_n_epoch={every} is more than trainer.max_epochs={epochs}: no epoch would be "
                f"validated, but {key}={metric} needs one. Lower it."
            )
    early = [(key, metric) for key, metric, _, _ in watchers(config, resolve_name) if metric.startswith("train/")]
    for key, metric in early:
        if interval not in (None, 1.0) or every is None:
            yield (
                f"{key}={metric} is known at the end of an epoch, but trainer.val_check_interval={interval} validates "
                "within it. Use val/acc or val/loss, or leave out trainer.val_check_interval."
            )
