"""Mutants of the scaling rules and the attention factor: M55 to M76."""

from typing import Any

import numpy as np

import ropecore
from ropecore import RotaryPlan
from ropecore.config import Rows

from ..arrays import Array
from .base import Config, FromConfig, Right, Tables, rotary_dim, rule, scaling, unscaled


class LinearMultiplies(FromConfig):
    """Linear scaling multiplies by the factor."""

    flag = "M55"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        rows = super().rows(config, seq_len)
        factor = config["scaling"]["factor"] ** 2 if rule(config) == "linear" else 1.0
        return rows._replace(frequencies=rows.frequencies * factor)


class DynamicNtkBelowTrained(FromConfig):
    """Dynamic NTK acts below the trained length."""

    flag = "M56"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        if rule(config) != "dynamic_ntk" or config["scaling"].get("policy") == "static":
            return super().rows(config, seq_len)
        s, trained, d = config["scaling"]["factor"], config["scaling"]["original_max_position"], rotary_dim(config)
        rows = super().rows(unscaled(config), None)
        alpha = s * seq_len / trained - (s - 1)
        return rows._replace(
            frequencies=rows.frequencies * np.float64(alpha) ** (-np.arange(d // 2) * 2 / (d - 2))[:, None]
        )


class NtkDividesAlike(FromConfig):
    """NTK divides every frequency by the same number."""

    flag = "M57"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        plain, rows = super().rows(unscaled(config), None), super().rows(config, seq_len)
        if rule(config) not in ("ntk", "dynamic_ntk"):
            return rows
        return rows._replace(frequencies=plain.frequencies * (rows.frequencies / plain.frequencies)[-1])


class NtkOfAnotherExponent(FromConfig):
    """NTK's exponent is d/(d-1)."""

    flag = "M58"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        plain, rows = super().rows(unscaled(config), None), super().rows(config, seq_len)
        d = rotary_dim(config)
        power = (d - 2) / (d - 1) if rule(config) in ("ntk", "dynamic_ntk") else 1.0
        if power == 1:
            return rows
        return rows._replace(frequencies=plain.frequencies * (rows.frequencies / plain.frequencies) ** power)


class LongestSoFar(FromConfig):
    """The state of a long input outlives it."""

    flag = "M59"
    remembers = True
    longest = 0

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        if seq_len is None:
            return super().rows(config, seq_len)
        self.longest = max(self.longest, seq_len)
        return super().rows(config, self.longest)


class Llama3Ignored(FromConfig):
    """The llama3 rule is ignored."""

    flag = "M60"

    def config(self, config: Config) -> Config:
        return unscaled(config) if rule(config) == "llama3" else config


class Llama3Blend(FromConfig):
    """A target whose llama3 rule blends the middle band otherwise."""

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        right, plain = super().rows(config, seq_len), super().rows(unscaled(config), None)
        if rule(config) != "llama3":
            return right
        f, g, given = plain.frequencies, right.frequencies, config["scaling"]
        low, high = given["low_freq_factor"], given["high_freq_factor"]
        sigma = (given["original_max_position"] * f / (2 * np.pi) - low) / (high - low) if high != low else 0.0 * f
        middle = (g != f) & (g != f / given["factor"])
        return right._replace(frequencies=np.where(middle, self.blend(f, given, sigma), g))

    def blend(self, f: Array, given: Config, sigma: Array) -> Array:
        """Return the frequencies of the middle band; sigma is 1 where nothing is stretched."""
        raise NotImplementedError


class Llama3LinearInWavelength(Llama3Blend):
    """Llama3's middle band is linear in the wavelength."""

    flag = "M61"

    def blend(self, f: Array, given: Config, sigma: Array) -> Array:
        s, wavelength, length = (
            given["factor"],
            2 * np.pi / np.where(f == 0, 1, np.abs(f)),
            given["original_max_position"],
        )
        low, high = length / given["high_freq_factor"], length / given["low_freq_factor"]
        return np.asarray(f + (f / s - f) * (wavelength - low) / (high - low))


class Llama3ParenthesesMissing(Llama3Blend):
    """Llama3's blend lacks a pair of parentheses."""

    flag = "M62"

    def blend(self, f: Array, given: Config, sigma: Array) -> Array:
        return np.asarray((1 - sigma) * f / (given["factor"] + sigma * f))


class Llama3EndsExchanged(Llama3Blend):
    """Llama3's two factors, or the ends of its blend, are exchanged."""

    flag = "M63"

    def blend(self, f: Array, given: Config, sigma: Array) -> Array:
        return np.asarray(sigma * f / given["factor"] + (1 - sigma) * f)


class YarnRoundedOtherwise(FromConfig):
    """YaRN's range is rounded where it must not be, or the reverse."""

    flag = "M64"

    def config(self, config: Config) -> Config:
        return (
            scaling(config, truncate=not config["scaling"].get("truncate", True)) if rule(config) == "yarn" else config
        )


class YarnClampedAtHalf(FromConfig):
    """YaRN's range is clamped at d/2 - 1."""

    flag = "M65"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        rows, plain = super().rows(config, seq_len), super().rows(unscaled(config), None)
        if rule(config) != "yarn":
            return rows
        given, d = config["scaling"], rotary_dim(config)
        at = [
            d
            * np.log(given["original_max_position"] / (2 * np.pi * given.get(name, default)))
            / (2 * np.log(config["base"]))
            for name, default in (("beta_fast", 32.0), ("beta_slow", 1.0))
        ]
        low, high = (np.floor(at[0]), np.ceil(at[1])) if given.get("truncate", True) else at
        low, high = max(low, 0), min(high, d // 2 - 1)
        ramp = np.clip((np.arange(d // 2) - low) / (high - low or 0.001), 0, 1)[:, None]
        return rows._replace(frequencies=plain.frequencies / given["factor"] * ramp + plain.frequencies * (1 - ramp))


class YarnRangeOfExtended(FromConfig):
    """YaRN's range is taken from the extended length."""

    flag = "M66"

    def config(self, config: Config) -> Config:
        if rule(config) != "yarn":
            return config
        return scaling(
            config, original_max_position=int(config["scaling"]["original_max_position"] * config["scaling"]["factor"])
        )


class YarnRampInverted(FromConfig):
    """YaRN's ramp runs the wrong way, or its betas are exchanged."""

    flag = "M67"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        rows, plain = super().rows(config, seq_len), super().rows(unscaled(config), None)
        if rule(config) not in ("yarn", "ntk_by_parts"):
            return rows
        return rows._replace(
            frequencies=plain.frequencies / config["scaling"]["factor"] + plain.frequencies - rows.frequencies
        )


class NoAttentionFactor(Right):
    """The attention factor is missing."""

    flag = "M68"

    def plan(self, plan: RotaryPlan) -> RotaryPlan:
        return plan.replace(attention_factor=1.0)


class AttentionFactorOnCosAlone(Right):
    """The attention factor multiplies cosines alone."""

    flag = "M69"

    def tables(self, plan: RotaryPlan, positions: Any, role: str) -> Tables:
        cos, sin = ropecore.cos_sin(plan, positions, role)
        return cos, sin / plan.attention_factor


class FactorOneIsAbsent(FromConfig):
    """An explicit attention_factor of 1 counts as absent."""

    flag = "M70"

    def config(self, config: Config) -> Config:
        given = config.get("scaling") or {}
        without = {"attention_factor": None} if rule(config) == "yarn" or given.get("factor") else {}
        return scaling(config, **without) if given.get("attention_factor") == 1 else config


class MscaleIgnored(FromConfig):
    """Mscale and mscale_all_dim are ignored, or used one without the other."""

    flag = "M71"

    def config(self, config: Config) -> Config:
        return scaling(config, mscale=None, mscale_all_dim=None) if rule(config) == "yarn" else config


class HalfAttentionFactor(Right):
    """The attention factor is in scores once, not squared."""

    flag = "M72"

    def plan(self, plan: RotaryPlan) -> RotaryPlan:
        return plan.replace(attention_factor=plan.attention_factor**0.5)


class LongropeLongTooEarly(FromConfig):
    """LongRoPE turns long at exactly the trained length."""

    flag = "M73"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        if rule(config) == "longrope" and seq_len is not None and seq_len == config["scaling"]["original_max_position"]:
            seq_len += 1
        return super().rows(config, seq_len)


class LongropeByCapacity(FromConfig):
    """LongRoPE is chosen by the capacity, not by the sequence."""

    flag = "M74"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        return super().rows(config, 1 << 20 if rule(config) == "longrope" and seq_len else seq_len)


class LongropeFactorsMultiply(FromConfig):
    """LongRoPE's factors multiply."""

    flag = "M75"

    def config(self, config: Config) -> Config:
        if rule(config) != "longrope":
            return config
        return scaling(
            config, **{name: [1 / e for e in config["scaling"][name]] for name in ("short_factor", "long_factor")}
        )


class LongropeWithTheFactorOfYarn(FromConfig):
    """LongRoPE has YaRN's attention factor."""

    flag = "M76"

    def rows(self, config: Config, seq_len: int | None) -> Rows:
        rows = super().rows(config, seq_len)
        if (
            rule(config) != "longrope"
            or config["scaling"].get("attention_factor")
            or not config["scaling"].get("factor")
        ):
            return rows
        return rows._replace(attention_factor=0.1 * np.log(config["scaling"]["factor"]) + 1)
