"""The metrics by which tasks judge nets, as tables and reports name them."""

HEADLINES = {"acc": "accuracy", "rmse": "RMSE", "f1": "F1"}
"""Name in metrics → name in a sentence; those of our own tasks."""

SHARES = ("acc",)
"""Headlines that are shown in percent."""


def long_name(headline: str) -> str:
    """The name of a headline metric in a sentence; that of a plugin's task is the metric's own."""
    return HEADLINES.get(headline, headline)
