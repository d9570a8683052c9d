"""Pass the config, the metrics of fit-end callbacks and the figures of the report to the loggers."""

import functools
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from PIL import Image

from snntrain.files import naming


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


def log_config(loggers: Iterable[Logger], config: Mapping[str, Any]) -> None:
    """Pass the resolved config to all loggers except the CSV logger, in whose folder it lies anyway."""
    for logger in loggers:
        if not isinstance(logger, CSVLogger):
            logger.log_hyperparams(dict(config))


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
