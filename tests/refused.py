"""The message with which a call is refused."""

from collections.abc import Callable
from typing import Any

import pytest


def message_of(kind: type[Exception], call: Callable[..., Any], *arguments: Any, **more: Any) -> str:
    """The call must raise this kind of error, with a message of one line."""
    with pytest.raises(kind) as error:
        call(*arguments, **more)
    message = str(error.value)
    assert "\n" not in message
    return message
