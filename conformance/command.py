"""The name that 0.1 gave to `ropecore.conformance.program`."""

from .process import ProgramError as ProgramError  # noqa: PLC0414
from .program import Program as Program  # noqa: PLC0414
