"""Pass the config, the metrics of fit-end callbacks and the figures of the report to the loggers."""

import functools
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from PIL import Image

from snntrain.files import naming
from snntrain.tree import walk


def name_files(logger: Logger) -> Logger:
    """Let an error of the disk name the logger's file, or the folder of its files; returns the logger."""
    for action in ("log_metrics", "log_hyperparams", "save", "finalize"):
        setattr(logger, action, _naming(logger, getattr(logger, action)))
    return logger


def _naming(logger: Logger, action: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(action)
    def named(*arguments: Any, **settings: Any) -> Any:
        try:
            return action(*arguments, **settings)
        except OSError:
            with naming(_place(logger)):
                raise

    return named


def _place(logger: Logger) -> Path:
    """The file of a CSV logger, or the folder of another logger's files."""
    place = Path(logger.log_dir or logger.save_dir or ".")
    return place / "metrics.csv" if isinstance(logger, CSVLogger) else place


# What the table of hyperparameters leaves out: where a run lies, what it shows, and what every run has.
_NOT_COMPARED = (
    *("paths.", "logger.", "debug.", "sweep."),
    *(
        f"callbacks.{name}."
        for name in ("best_checkpoint", "finite", "progress", "running_statistics", "spike_statistics")
    ),
)


def log_config(loggers: Iterable[Logger], config: Mapping[str, Any]) -> None:
    """Pass the resolved config to all loggers except the CSV logger, in whose folder it lies anyway."""
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            continue
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(dict(config), metrics={})  # in a file; without the metric -1 that it would make up
            _log_hyperparameters(logger, config)
        else:
            logger.log_hyperparams(dict(config))
            _name(logger, config)


@rank_zero_only
def _log_hyperparameters(logger: TensorBoardLogger, config: Mapping[str, Any]) -> None:
    """Fill TensorBoard's table of hyperparameters; its metrics are the monitored one, and that of the test."""
    compared = {
        path.replace(".", "/"): value if isinstance(value, (bool, int, float)) else str(value)
        for path, _, value in walk(config)
        if value is not None and not path.startswith(_NOT_COMPARED)
    }
    monitored = (config.get("monitor") or {}).get("metric", "val/acc")
    metrics = dict.fromkeys((monitored, f"test/{monitored.split('/')[-1]}"))
    from torch.utils.tensorboard.summary import hparams  # needs TensorBoard, which is an extra

    for summary in hparams(compared, metrics):
        logger.experiment._get_file_writer().add_summary(summary)


@rank_zero_only
def _name(logger: Logger, config: Mapping[str, Any]) -> None:
    """Add the folder to the names of runs in a sweep or search, which would otherwise all be equal."""
    name, folder = config.get("name"), Path((config.get("paths") or {}).get("run") or ".")
    if not name or folder.name.endswith(name):
        return
    told = f"{name} {folder.parent.name}/{folder.name}"
    if isinstance(logger, MLFlowLogger) and logger.experiment.get_run(logger.run_id).info.run_name == name:
        logger.experiment.update_run(logger.run_id, name=told)
    elif isinstance(logger, WandbLogger) and logger.experiment.name == name:
        logger.experiment.name = told


def log_results(loggers: Iterable[Logger], metrics: Mapping[str, float], figures: Mapping[str, Figure]) -> None:
    """Log what is known at the end of a run, and close its record so that the next run of a sweep gets its own.

    Args:
        loggers: of the trainer. TensorBoard, Weights & Biases and MLflow show figures, others keep numbers only.
        metrics: of the run; those of fit-end callbacks are logged here, because Lightning has not seen them.
        figures: name → figure of the report; their background becomes white.
    """
    new = {name: value for name, value in metrics.items() if name.split("/")[0] not in ("train", "val", "test")}
    for figure in figures.values():
        figure.set_facecolor("white")
    for logger in loggers:
        with naming(_place(logger)):
            _log_results(logger, new, figures)


def _log_results(logger: Logger, new: Mapping[str, float], figures: Mapping[str, Figure]) -> None:
    if new:
        logger.log_metrics(new)
        logger.save()
    for name, figure in figures.items():
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(f"report/{name}", figure, close=False)
        elif isinstance(logger, WandbLogger):
            logger.log_image(f"report/{name}", [_picture(figure)])
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_figure(logger.run_id, figure, f"report/{name}.png")
    if isinstance(logger, WandbLogger):
        logger.experiment.finish()
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.close()


def _picture(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, facecolor="white")
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")
