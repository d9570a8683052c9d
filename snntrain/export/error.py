"""The error of everything that cannot be exported."""


class ExportError(ValueError):
    """A net, a part of it, or a file that cannot be exported or read; the text names the place and a way out."""


MAX_POOL_REMEDY = "callbacks.lava.max_pool=neurons (in Python max_pool='neurons'), which puts neurons in its place"


def refusal(name: str, kind: str, reason: str, remedy: str) -> ExportError:
    """The error that every refusal of a place in a net raises."""
    return ExportError(f"export: {name} ({kind}) cannot be exported: {reason}. {remedy}")
