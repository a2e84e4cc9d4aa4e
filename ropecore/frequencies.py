"""The frequencies that a scaling rule starts from (rope.md chapter 4)."""

from dataclasses import dataclass
from decimal import Decimal

from ropecore.errors import RopeError
from ropecore.forks import cached_property


@dataclass(frozen=True)
class Spectrum:
    """The unscaled frequencies f_j = base^(-2j / dim), j = 0 .. n_pairs - 1 (R-4.1), or the
    caller's own (R-4.3).

    A scaling rule is a function of this: `dim` is d of rope.md, `seq_len` the length that the plan
    is for. Read it inside `exact.sixty_digits()`.
    """

    n_pairs: int
    dim: int
    base: Decimal | None = None
    custom: tuple[Decimal, ...] | None = None
    seq_len: int | None = None

    @cached_property
    def frequencies(self) -> list[Decimal]:
        """Return f_j for each pair."""
        return self.with_base(self.log_base) if self.custom is None else list(self.custom)

    @cached_property
    def log_base(self) -> Decimal:
        """Return ln(base)."""
        if self.base is None:
            raise RopeError(
                "base", None, "must be given", "The frequencies, or the scaling rule, are made from it.", "R-4.1"
            )
        return self.base.ln()

    def with_base(self, log_base: Decimal) -> list[Decimal]:
        """Return exp(-2j/d * log_base): the frequencies of another base, for the rules that change
        it.
        """
        if self.custom is not None:
            raise RopeError(
                "inv_freq", "given", "cannot go with a rule that changes the base", "Give base alone.", "R-4.3"
            )
        return [(Decimal(-2 * j) / self.dim * log_base).exp() for j in range(self.n_pairs)]
