"""The metrics by which tasks judge nets, as tables and reports name them."""

from collections.abc import Iterable

HEADLINES = {"acc": "accuracy", "rmse": "RMSE", "f1": "F1", "smape": "sMAPE"}
"""Name in metrics → name in a sentence; those of our own tasks."""

OTHERS = {"auroc": "AUROC", "mae": "MAE", "r2": "R²"}
"""The same of metrics that are logged beside them."""


def judged_by(task: object) -> tuple[str, str]:
    """The metric by which a task judges nets, and whether it should be large ("max") or small ("min").

    For one that does not say, such as a plain LightningModule, that is the accuracy.
    """
    return getattr(task, "HEADLINE", ("acc", "max"))


def headline_of(metrics: Iterable[str]) -> str:
    """The headline metric of a run whose test logged these metrics; "acc" if it is none of ours."""
    logged = set(metrics)
    return next((name for name in HEADLINES if f"test/{name}" in logged), "acc")


def is_of_headline(metric: str, headline: str) -> bool:
    """Whether a metric is the headline metric of a net: for rmse test/rmse, qat/rmse_int, ann2snn/rmse_T8."""
    return any(part.split("_")[0] == headline for part in metric.split("/")[1:])


def long_name(headline: str) -> str:
    """The name of a metric in a sentence; that of a plugin's metric is its own."""
    return HEADLINES.get(headline) or OTHERS.get(headline, headline)
