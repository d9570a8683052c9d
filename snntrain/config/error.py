"""Turns the errors of constructors and readers into the one error that users see."""

import contextlib
import re
from collections.abc import Iterator

from hydra.errors import HydraException
from lightning.fabric.utilities.exceptions import MisconfigurationException

from snntrain.error import UsageError

_REFUSALS = (
    ValueError,
    TypeError,
    OSError,
    ImportError,
    AttributeError,
    RuntimeError,
    OverflowError,
    HydraException,
    MisconfigurationException,
)


@contextlib.contextmanager
def refusing(prefix: str = "", owner: str = "") -> Iterator[None]:
    """Turn the errors of constructors and readers inside the block into UsageErrors.

    Args:
        prefix: put before the text unless that begins with it already, e.g. "neuron".
        owner: the class that the prefix configures: "LIFNode: tau must …" becomes "neuron.tau must …".
    """
    try:
        yield
    except UsageError:
        raise
    except _REFUSALS as error:
        cause: BaseException = error
        while isinstance(cause, HydraException) and cause.__cause__ is not None:
            cause = cause.__cause__  # Hydra wraps the constructor's error, whose text is clearer
        text = " ".join(str(cause).split()) or type(cause).__name__  # one line
        if owner:
            text = re.sub(rf"^{re.escape(owner)}: (?=\w+ must )", f"{prefix}.", text)
        raise UsageError(text if not prefix or text.startswith(prefix) else f"{prefix}: {text}") from error
