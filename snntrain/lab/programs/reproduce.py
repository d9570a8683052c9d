"""Repeat a recorded experiment, or a run folder, and compare the results with what was measured then.

Exit code: 0 reproduced; 1 a metric differs; 2 wrong command line or files; 3 the config is not the recorded one.
"""

from pathlib import Path

from snntrain.error import UsageError
from snntrain.installation import command_of
from snntrain.run.front import Parser, whole_number

_NAME = command_of("reproduce")
_EXAMPLES = f"""\
  {_NAME} digits_lif        exact on the same class of hardware, within tolerance elsewhere
  {_NAME} fmnist_csnn --seed 2 paths.data=/my/data
  {_NAME} digits_lif --weights                  test the weights that the record ships; nothing is trained
  {_NAME} --from runs/2026-01-31/12-00-00_digits_csnn_lif"""


def main(arguments: list[str]) -> int:
    """Repeat one run; the exit code."""
    parser = Parser(_NAME, __doc__, _EXAMPLES)
    parser.add_argument("words", nargs="*", metavar="NAME | key=value", help="a recorded experiment, and overrides")
    parser.add_argument("--seed", type=whole_number, help="one of the recorded seeds; default: the first")
    parser.add_argument(
        "--from", dest="folder", type=Path, metavar="FOLDER", help="a run folder, or a record elsewhere"
    )
    parser.add_argument("--weights", action="store_true", help="test the record's weights instead of training again")
    asked = parser.read(arguments)
    names = [word for word in asked.words if "=" not in word]
    overrides = [word for word in asked.words if "=" in word]
    if len(names) + (asked.folder is not None) != 1:
        raise UsageError("Give the name of one recorded experiment, or --from FOLDER.")
    if asked.weights:
        if asked.folder is not None or asked.seed is not None:
            raise UsageError(
                "--weights takes the name of one record, whose best seed it tests; leave --from and --seed out."
            )
        from snntrain.lab.experiment.retesting import retest

        return retest(names[0], overrides)
    from snntrain.lab.experiment.reproduction import reproduce, reproduce_from

    if asked.folder is not None:
        return reproduce_from(asked.folder, asked.seed, overrides)
    return reproduce(names[0], asked.seed, overrides)
