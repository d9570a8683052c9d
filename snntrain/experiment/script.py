"""The exit code of a script: errors of the user's as one sentence."""

from collections.abc import Callable

from rich.console import Console
from rich.markup import escape

from snntrain.config.error import UsageError
from snntrain.run.interruption import Interrupted


def guarded(main: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Run a script's main function.

    Returns: what it returns; 2 for a wrong command line, config or file; 130 after Ctrl-C.
    """
    errors = Console(stderr=True, highlight=False)
    try:
        return main(arguments)
    except UsageError as error:
        errors.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
        return 2
    except (KeyboardInterrupt, Interrupted) as interruption:
        errors.print("Interrupted.")
        return getattr(interruption, "exit_code", 130)
