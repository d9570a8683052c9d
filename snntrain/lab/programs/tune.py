"""Search for hyper-parameters with Optuna: `snntrain tune search=lif_tau workers=2`.

Without arguments it lists the searches of conf/search. The same command again goes on with a study.
"""


def main(arguments: list[str]) -> int:
    """Search; the exit code."""
    from snntrain.lab.search import command

    return command.main(arguments)
