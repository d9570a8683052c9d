"""The errors of constructors and readers as the one error that users see."""

import contextlib
from collections.abc import Iterator

from hydra.errors import HydraException

from snntrain.error import UsageError

__all__ = ["UsageError", "refusing"]


@contextlib.contextmanager
def refusing(prefix: str = "") -> Iterator[None]:
    """Turn the errors of constructors and readers inside the block into UsageErrors.

    Args:
        prefix: put before the text where that does not begin with it already, e.g. "neuron".
    """
    try:
        yield
    except UsageError:
        raise
    except (ValueError, TypeError, OSError, ImportError, AttributeError, RuntimeError, HydraException) as error:
        cause: BaseException = error
        while isinstance(cause, HydraException) and cause.__cause__ is not None:
            cause = (
                cause.__cause__
            )  # Hydra wraps what a constructor raised; the constructor's own words are the clear ones
        text = " ".join(str(cause).split()) or type(cause).__name__  # one line
        raise UsageError(text if not prefix or text.startswith(prefix) else f"{prefix}: {text}") from error
