"""Test, predict with, or audit a trained net: rebuild → check → run."""


def main(arguments: list[str]) -> int:
    """Evaluate; the exit code."""
    from snntrain.run.evaluation_settings import USAGE

    if not arguments or {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    from snntrain.run.evaluate import evaluate
    from snntrain.run.run import quieten_lightning

    quieten_lightning()
    evaluate(arguments)
    return 0
