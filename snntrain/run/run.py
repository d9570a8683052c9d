"""One run: check → build → fit → test → report; or only show the model, the data, the kernels or an audit."""

import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from omegaconf import DictConfig

from snntrain.callback import EnergyModels, NeuroBench, Pruned, SynapticOperations
from snntrain.callback.fit_end import run_in_turn
from snntrain.callback.fit_end.around import best_checkpoint
from snntrain.config.check import check
from snntrain.config.error import refusing
from snntrain.data.target import learned_by
from snntrain.error import UsageError
from snntrain.figure import collected
from snntrain.files import checksums, write_json, write_text
from snntrain.headline import judged_by
from snntrain.kernel.device_status import gpu_launcher
from snntrain.model.profile import profile
from snntrain.registry import did_you_mean
from snntrain.run.artifacts import first_sample, write_raster, write_test
from snntrain.run.build import Run, build, build_task, net_shape
from snntrain.run.checkpoint import read_checkpoint
from snntrain.run.fit_end import handed_over, task_with_best_weights
from snntrain.run.folder import RunFolder
from snntrain.run.front import describe
from snntrain.run.interruption import Interrupted, how_to_continue, interruptible
from snntrain.run.kept_graph import keep_graph
from snntrain.run.loggers import log_config, log_results
from snntrain.run.longer import Replanned, check_longer, more_epochs
from snntrain.run.memory import keep_freed_memory, peak_memory, restart_peaks
from snntrain.run.parallel.agreement import agree
from snntrain.run.parallel.devices import check_devices, in_group, is_on_cuda, leave_group, processes
from snntrain.run.provenance import continued, provenance
from snntrain.run.report.layer_table import layer_table
from snntrain.run.report.report import write_report
from snntrain.run.results import best_epoch, even_on_a_full_disk, exact_metrics, metrics_of
from snntrain.run.resume import Start, choose_start, refuse_other_data
from snntrain.run.resume_state import check_state
from snntrain.run.show_audit import show_audit
from snntrain.run.show_data import show_data
from snntrain.run.show_kernels import show_kernels
from snntrain.task.contract import lacks_for_scores, test_arrays
from snntrain.terminal import bold, print_line, terminal

SHOWN = ("model", "data", "kernels", "audit")

console = terminal()


def run(
    config: DictConfig,
    folder: Path,
    overrides: list[str],
    command: str | None = None,
    more_callbacks: Sequence[pl.Callback] = (),
    *,
    is_chosen: bool = True,
    earlier: Path | None = None,
) -> dict[str, float]:
    """Train, test and report; with show=… only describe the layers, the data, what runs fused, or what is at fault.

    Args:
        config: composed, without Hydra's own settings.
        folder: the run folder made for this run.
        overrides: the run's part of the command line, recorded.
        command: recorded as the one that repeats the run; None: this program with the overrides.
        more_callbacks: in addition to those of the config.
        is_chosen, earlier: as in choose_start.

    Returns: the metrics of results.json; {} if something was only shown.
    Raises: UsageError before anything is written; Interrupted, Pruned and Diverged after results and report were
    written.
    """
    quieten_lightning()
    keep_freed_memory()
    config.paths.run = str(folder)
    _check_show(config.get("show"))
    settings = check(config)
    if settings.get("show") == "model":
        _show_model(settings)
        return {}
    if settings.get("show") == "data":
        show_data(settings)
        return {}
    if settings.get("show") == "kernels":
        show_kernels(settings)
        return {}
    if settings.get("show") == "audit":
        show_audit(settings)
        return {}
    check_devices(settings)
    start = Start.read(agree(lambda: choose_start(settings, folder, is_chosen=is_chosen, earlier=earlier).written()))
    if start.folder != folder:
        config.paths.run = str(start.folder)
        settings = check(config)
    try:
        return run_checked(settings, overrides, start.checkpoint, command, more_callbacks)
    finally:
        RunFolder(start.folder).release()


def run_checked(
    settings: dict[str, Any],
    overrides: list[str],
    checkpoint: Path | None = None,
    command: str | None = None,
    more_callbacks: Sequence[pl.Callback] = (),
) -> dict[str, float]:
    """Train, test and report in settings["paths"]["run"], in this process or one for each device.

    Args:
        settings: a config that was checked.
        checkpoint: to continue from.
        Others, and what is returned and raised, as in run.
    """
    began = time.time()
    try:
        if processes(settings["trainer"]) > 1 and not in_group():
            if more_callbacks:
                raise UsageError("trainer.devices: a search runs its trials on one device each. Use trainer.devices=1.")
            from snntrain.run.parallel.agent import launch  # only here: it imports torch's elastic agent

            return launch(settings, checkpoint, overrides, command)
        return train(settings, checkpoint, overrides, command, more_callbacks)
    except RuntimeError as error:
        if not in_group():
            raise
        from snntrain.run.parallel.agent import concluded_as_lost

        lost = concluded_as_lost(error, settings, began)
        if lost is None:
            raise
        raise lost from error
    except Interrupted as interruption:
        print_line(console, interruption.message)
        raise


def train(
    settings: dict[str, Any],
    checkpoint: Path | None,
    overrides: list[str],
    command: str | None = None,
    more_callbacks: Sequence[pl.Callback] = (),
) -> dict[str, float]:
    """Train, test and report in this process; as run_checked, but {} in all but the first of several processes."""
    restart_peaks()
    pl.seed_everything(settings["seed"], workers=True, verbose=False)
    built = build(settings, more_callbacks)
    layers, is_first = _layers(built.task, settings), built.trainer.is_global_zero
    console.quiet = not is_first
    hashes = built.data.fingerprint() if is_first else {}
    built.resume_point.description |= {"data": hashes, "classes": [str(name) for name in built.data.CLASSES]}
    if checkpoint is not None:
        _check_resumed(built, checkpoint, hashes)
    done = _results_that_stay(built, checkpoint)
    if is_first:
        origin = provenance(overrides, hashes, command)
        if checkpoint is not None and built.folder.provenance.exists():
            origin = continued(built.folder.read(RunFolder.provenance), origin)
        built.folder.write_inputs(built.config, overrides, origin, built.data.splits_record(), layers)
        keep_graph(built.config, built.folder)
    _introduce(built, checkpoint, layers)
    log_config(built.trainer.loggers, settings)
    seconds: dict[str, float] = {}
    metrics: dict[str, float] = {}
    try:
        with interruptible():
            began = time.perf_counter()
            built.trainer.fit(built.task, datamodule=built.data, ckpt_path=checkpoint, weights_only=True)
            seconds["fit"] = round(time.perf_counter() - began, 3)
            metrics |= _test(built, seconds)
            device, test_batches = built.trainer.strategy.root_device, _test_batches(built)
            if built.trainer.world_size > 1:
                leave_group()
                if not is_first:
                    return {}
                built.data.trainer = None  # otherwise its loaders would still give this process only its share
            best_task = partial(task_with_best_weights, built)
            _write_raster(built, best_task)
            if built.fit_end:
                trained = handed_over(built, best_task(), device, test_batches, is_resumed=checkpoint is not None)
                run_in_turn(built.fit_end, trained, metrics, seconds, console)
    except Interrupted as interruption:
        if is_first:
            where = how_to_continue(built.folder, len(built.history.rows), built.trainer.max_epochs)
            interruption.message = f"Interrupted ({interruption}){where}"
            metrics = metrics or metrics_of(_best_row(built))
            _conclude_early(built, "interrupted", metrics, seconds, interruption.message)
        raise
    except Pruned as pruned:
        _conclude(built, "pruned", metrics_of(_best_row(built)), seconds, f"Pruned {pruned}.")
        raise
    except Exception as error:
        if not is_first:
            raise
        error.place_in_run = _callback_at_fault(error, built.config)
        metrics = metrics or metrics_of(_best_row(built))
        _conclude_early(built, "failed", metrics, seconds, describe(error), traceback.format_exc())
        raise
    if done:
        anew = {name.partition("/")[0] for name in metrics}  # a callback that ran again replaces all that it had said
        stay = {name: value for name, value in exact_metrics(done).items() if name.partition("/")[0] not in anew}
        metrics = {**stay, **metrics}
        seconds = {**seconds, **{part: took for part, took in done["seconds"].items() if part not in anew - {"test"}}}
    _conclude(built, "finished", metrics, seconds, throughput=done.get("throughput"))
    print_line(console, f"report: {built.folder.report}")
    return metrics


def _results_that_stay(built: Run, checkpoint: Path | None) -> dict[str, Any]:
    """The outcome of a finished run of which nothing is trained again, when only callbacks follow; else {}."""
    if checkpoint is None or len(built.folder.epochs()) < (built.trainer.max_epochs or 0):
        return {}
    outcome = built.folder.usable_outcome()
    return outcome if outcome.get("status") == "finished" else {}


def _check_show(show: str | None) -> None:
    if show is not None and show not in SHOWN:
        raise UsageError(
            f"show must be null (train) or {' or '.join(map(repr, SHOWN))}, got {show!r}.{did_you_mean(show, SHOWN)}"
        )


def _show_model(settings: dict[str, Any]) -> None:
    """Print the layers of the model; no data are read."""
    task, shape = build_task(settings), "×".join(map(str, net_shape(settings)))
    console.print(bold(settings["name"], f"   T = {task.T}, a sample of one step is {shape}"))
    console.print(layer_table(_layers(task, settings)))


def _layers(task: pl.LightningModule, settings: dict[str, Any]) -> list[dict[str, Any]]:
    with refusing("model"):
        return profile(task.net, net_shape(settings), task.T)


def quieten_lightning() -> None:
    """Hide Lightning's advice about what this program does on purpose."""
    import logging

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*number of training batches .* smaller than the logging interval.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*in eval mode at the start of training.*",  # freeze=[…] asked for it
        ".*The `srun` command is available on your system.*",  # torchrun or this program started the processes
        ".*It is recommended to use `self.log.*sync_dist=True.*",  # our metrics are reduced over all processes already
    ):
        warnings.filterwarnings("ignore", text)


def _check_resumed(built: Run, checkpoint: Path, hashes: dict[str, str]) -> None:
    """Refuse a checkpoint of another run or of other data before anything is written."""
    content = read_checkpoint(checkpoint)
    check_state(content, built.task, built.trainer, built.config, checkpoint)
    if built.trainer.is_global_zero:
        refuse_other_data(content, checkpoint, hashes)
    epochs = more_epochs(content["snntrain"]["config"], built.config)
    if epochs and content["lr_schedulers"]:
        check_longer(content, built.task, built.config)
        built.trainer.callbacks.append(Replanned())
    if epochs:
        print_line(
            console,
            f"trainer.max_epochs was {epochs[0]}, is {epochs[1]}: the learning rate goes on where a run of {epochs[1]} "
            "epochs has it, and the results will be those of the longer run",
        )


def _introduce(built: Run, checkpoint: Path | None, layers: list[dict[str, Any]]) -> None:
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in built.data.splits.items())
    console.print(bold(built.config["name"], f"   seed {built.config['seed']}, T = {built.task.T}, {sizes} samples"))
    print_line(console, f"run folder: {built.folder}" + (f"   resumed from {checkpoint}" if checkpoint else ""))
    if built.trainer.world_size > 1:
        size, world = built.data.batch_size, built.trainer.world_size
        console.print(f"{world} processes, batches of {world} × {size} = {world * size} samples")
    if is_on_cuda(built.config["trainer"]):
        print_line(console, _kernels())
    console.print(layer_table(layers))


def _kernels() -> str:
    """Whether neurons run fused on the GPU, and by what or why not."""
    by, reason = gpu_launcher()
    return f"kernels on the GPU: {by}" if by else f"no kernels on the GPU, so that neurons run as torch loops: {reason}"


def _test(built: Run, seconds: dict[str, float]) -> dict[str, float]:
    best = best_checkpoint(built.trainer)
    began = time.perf_counter()
    built.trainer.test(built.task, datamodule=built.data, ckpt_path=best, weights_only=True, verbose=False)
    seconds["test"] = round(time.perf_counter() - began, 3)
    tested = {name: float(value) for name, value in built.trainer.callback_metrics.items()}
    arrays = test_arrays(built.task)  # all processes take part
    if not built.trainer.is_global_zero:
        return {}
    if arrays:
        data = built.data
        standard, dt = (getattr(data, name, None) for name in ("value_standard", "dt"))
        write_test(arrays, data.CLASSES, data.splits["test"], built.folder.test, standard, dt)
    for callback in built.trainer.callbacks:
        file = _COUNTED_IN.get(type(callback))
        if file is not None and callback.result is not None:
            write_json(built.folder.path / file.name, callback.result)
    return {**metrics_of(_best_row(built)), **tested}


# Callbacks of the test → the file that holds their results.
_COUNTED_IN = {
    SynapticOperations: RunFolder.operations,
    NeuroBench: RunFolder.neurobench,
    EnergyModels: RunFolder.energy,
}


def _test_batches(built: Run) -> int:
    """How many batches of data.batch_size the test had in all processes together."""
    whole = -(-len(built.data.splits["test"]) // built.data.batch_size)
    return min(int(sum(built.trainer.num_test_batches)) * built.trainer.world_size, whole)


def _write_raster(built: Run, best_task: Callable[[], pl.LightningModule]) -> None:
    sample = first_sample(built.data.splits["test"], learned_by(built.task))
    if sample is None or lacks_for_scores(built.task):
        needs = "a task with `forward` and `scores`, and a test set with items (tensor, label)"
        print_line(console, f"no spike raster: it needs {needs}")
        return
    task, precision = built.task, built.trainer.precision_plugin
    if built.trainer.world_size > 1:
        task = precision.convert_module(best_task().to(built.trainer.strategy.root_device))
    write_raster(task, sample, built.folder.raster, precision)


def _callback_at_fault(error: Exception, config: dict[str, Any]) -> str:
    """The key of the config's callback in which an error was raised; '' if it was not raised in one."""
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    raised_in = {f"{type(owner).__module__}.{type(owner).__qualname__}" for owner in owners}
    keys = [key for key, settings in config["callbacks"].items() if settings["_target_"] in raised_in]
    return f"callbacks.{keys[-1]}" if keys else ""


def _best_row(built: Run) -> dict[str, float]:
    return best_epoch(built.history.rows, **built.config["monitor"])


def _conclude(
    built: Run,
    status: str,
    metrics: dict[str, float],
    seconds: dict[str, float],
    message: str | None = None,
    throughput: dict[str, float] | None = None,
) -> None:
    speed = built.throughput.images_per_second
    measured = {} if speed is None else {f"train_{built.throughput.unit}_per_second": round(speed, 1)}
    speeds = measured or throughput or {}
    more: dict[str, Any] = {"seconds": seconds, "throughput": speeds, "memory": peak_memory()}
    if "epoch" in _best_row(built):
        more["best_epoch"] = int(_best_row(built)["epoch"])
    if message:
        more["message"] = message
    built.folder.write_results(status, metrics, **more)
    if status == "finished":
        _summarize(built, metrics)  # before the report, which takes a second to draw
    with collected() as figures:
        write_report(built.folder.path)
    log_results(built.trainer.loggers, metrics, figures)
    checksums.register(built.folder.path)


def _conclude_early(
    built: Run, status: str, metrics: dict[str, float], seconds: dict[str, float], message: str, trace: str = ""
) -> None:
    """Conclude a run that was ended by an error or a signal."""
    with even_on_a_full_disk(status):
        _conclude(built, status, metrics, seconds, message)
        if trace:
            write_text(built.folder.traceback, trace)


def _summarize(built: Run, metrics: dict[str, float]) -> None:
    names = dict.fromkeys((judged_by(built.task)[0], "loss", "firing_rate"))
    parts = [f"test/{name} {metrics[f'test/{name}']:.4f}" for name in names if f"test/{name}" in metrics]
    if "test/energy_uJ" in metrics:
        parts.append(f"energy about {metrics['test/energy_uJ']:.3g} µJ a sample")
    speed = built.throughput.told
    print_line(console, bold("   ".join(parts), f"   {speed}" if speed else ""))
    if built.config["trainer"].get("profiler"):
        console.print(built.trainer.profiler.summary())
