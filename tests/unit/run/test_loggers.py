"""Where the loggers of conf/ write, and what they get beside curves: config, metrics of fit-end callbacks, figures."""

from pathlib import Path

import pytest
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger

from snntrain.config import compose
from snntrain.config.check import check
from snntrain.figure import collected, new_figure, svg
from snntrain.run.loggers import log_config, log_results

CONFIG = {
    "T": 4,
    "neuron": {"name": "LIFNode", "tau": 2.0},
    "name": "digits",
    "paths": {"run": "runs/2026-01-01/10-00-00_sweep/3"},
    "callbacks": {"progress": {"_target_": "snntrain.callback.Progress"}},
}
METRICS = {"test/acc": 0.5, "qat/acc_int": 0.75}


def configured(name: str, folder: Path) -> Logger:
    """A logger as the config makes it for the run folder `run`."""
    (folder / "run/logs").mkdir(parents=True, exist_ok=True)
    return instantiate(
        check(compose([f"logger={name}", f"paths.run={folder / 'run'}", f"paths.runs={folder}"]))["logger"]
    )


def figures() -> dict:
    with collected() as drawn:
        for name in ("loss", "raster"):
            figure = new_figure(2, 2)
            figure.add_subplot().plot([0, 1], [1, 0])
            svg(figure, name)
    return drawn


def log(*loggers) -> None:
    log_config(loggers, CONFIG)
    log_results(loggers, METRICS, figures())


def test_figures_are_collected_inside_the_block_only():
    assert list(figures()) == ["loss", "raster"]
    svg(new_figure(1, 1), "later")
    assert list(figures()) == ["loss", "raster"]


def test_tensorboard_shows_config_metrics_and_figures(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = configured("tensorboard", tmp_path)
    log(logger)
    assert Path(logger.log_dir).is_relative_to(tmp_path / "run/logs")
    events = accumulator.EventAccumulator(logger.log_dir).Reload()
    assert set(events.Tags()["images"]) == {"report/loss", "report/raster"}
    assert [event.value for event in events.Scalars("qat/acc_int")] == [0.75]
    assert set(events.Tags()["scalars"]) == {"qat/acc_int"}  # Lightning logs test/acc; no metric is made up
    plugin = pytest.importorskip("tensorboard.plugins.hparams.metadata")
    told = events.SummaryMetadata(plugin.SESSION_START_INFO_TAG).plugin_data.content
    shown = plugin.parse_session_start_info_plugin_data(told).hparams
    assert {name: value.number_value or value.string_value for name, value in shown.items()} == {
        "T": 4.0,
        "neuron/name": "LIFNode",
        "neuron/tau": 2.0,
        "name": "digits",
    }
    experiment = events.SummaryMetadata(plugin.EXPERIMENT_TAG).plugin_data.content
    metrics = plugin.parse_experiment_plugin_data(experiment).metric_infos
    assert [metric.name.tag for metric in metrics] == ["val/acc", "test/acc"]


@pytest.mark.slow  # tests/runs/test_trackers.py looks at such a store too
def test_mlflow_keeps_a_local_store_for_all_runs(tmp_path):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    logger = configured("mlflow", tmp_path)
    log(logger)
    assert (tmp_path / "mlflow.db").is_file()
    kept = logger.experiment.get_run(logger.run_id)
    assert kept.info.run_name == "digits_csnn_lif"  # another name than the config's stays
    assert kept.data.params["neuron/tau"] == "2.0" and kept.data.metrics == {"qat/acc_int": 0.75}
    assert {path.name for path in (tmp_path / "mlflow").rglob("*.png")} == {"loss.png", "raster.png"}


@pytest.mark.slow
def test_a_run_of_a_sweep_is_named_after_its_folder_too(tmp_path):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    logger = configured("mlflow", tmp_path)
    swept = CONFIG | {"name": "digits_csnn_lif"}
    log_config([logger], swept)
    assert logger.experiment.get_run(logger.run_id).info.run_name == "digits_csnn_lif 10-00-00_sweep/3"
    alone = configured("mlflow", tmp_path)
    log_config([alone], swept | {"paths": {"run": "runs/2026-01-01/10-00-00_digits_csnn_lif"}})
    assert alone.experiment.get_run(alone.run_id).info.run_name == "digits_csnn_lif"


@pytest.mark.slow
def test_wandb_works_offline_and_each_run_gets_a_record_of_its_own(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for _ in range(2):
        log(configured("wandb", tmp_path))
    runs = list(tmp_path.glob("run/logs/wandb/offline-run-*"))
    assert len(runs) == 2
    for run in runs:
        assert len(list(run.glob("files/media/images/report/*.png"))) == 2


def test_the_csv_logger_gets_the_metrics_of_fit_end_callbacks(tmp_path):
    logger = configured("csv", tmp_path)
    log(logger)
    assert Path(logger.log_dir).is_relative_to(tmp_path / "run/logs")
    assert "qat/acc_int" in (Path(logger.log_dir) / "metrics.csv").read_text(encoding="utf-8")
