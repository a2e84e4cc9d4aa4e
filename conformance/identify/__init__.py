"""`ropecore.identify`: the plan of a black box f(x, positions) -> y, from its answers alone.

probe.py  unit vectors at a few positions -> lanes, A, frequencies, precision
rule.py   the rule that gives these frequencies
bugs.py   the known bug that behaves as the box does
cli.py    the command `ropecore identify`
"""

from .probe import UNIT as UNIT
from .probe import Box as Box
from .probe import Identification as Identification
from .probe import identify as identify
