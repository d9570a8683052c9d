"""From a command line to a checked config.

It may import everything but run, its neighbor on this floor, and lab.
"""

from snntrain.config.compose import compose
from snntrain.config.schema import Config
from snntrain.installation import CONF

__all__ = ["CONF", "Config", "compose"]
