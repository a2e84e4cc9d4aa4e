"""The quantities of one RoPE in a Hugging Face configuration: which key says what, and what the family's row says instead."""

from collections.abc import Mapping
from typing import Any

from ropecore.errors import RopeError, integer, number
from ropecore.read.ledger import Ledger, Section
from ropecore.read.parts import ABOUT_ROPE, LayerType, Part, Request
from ropecore.read.scaling import COMMON, Lengths

# one quantity, several names; the first that is there is taken
NAMES = {
    "head_dim": ("head_dim", "kv_channels"),
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_attention_heads": ("num_attention_heads", "num_heads", "n_head", "n_heads"),
    "num_key_value_heads": ("num_key_value_heads", "n_kv_heads", "num_kv_heads", "multi_query_group_num"),
    "max_position_embeddings": (
        "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "model_max_length",
    ),
    "rope_theta": ("rope_theta", "rotary_emb_base", "rotary_embedding_base", "rope_base"),
    "partial_rotary_factor": ("partial_rotary_factor", "rotary_pct", "rope_pct", "rotary_emb_fraction"),
    "rotary_dim": ("rotary_dim", "rope_dim"),
}  # fmt: skip

ROPE_KEYS = ("rope_scaling", "rope_parameters")  # in transformers' order

# bases of other layer types, in version 4
BASES = (
    "rope_theta", "rope_local_base_freq", "compress_rope_theta", "swa_rope_theta", "local_rope_theta", "global_rope_theta",
)  # fmt: skip

# keys of the configuration that a keyword of the caller goes before
OVERRULED = {
    "base": (*NAMES["rope_theta"], *BASES),
    "head_dim": NAMES["head_dim"],
    "rotary_dim": (*NAMES["rotary_dim"], *NAMES["partial_rotary_factor"]),
}

# keys about RoPE that do not change a rotation: which layers are scaled, and what other keys say already
NOT_ROTATION = ("rope_scaling_layers", "qk_rope_head_dim", "no_rope_layer_interval", "rope_interleave")


def head_counts(config: Mapping[str, Any]) -> dict[str, int]:
    """Return those of n_heads and n_kv_heads that the keys of one model say, by any of their names."""
    found = {}
    for name, quantity in (("n_heads", "num_attention_heads"), ("n_kv_heads", "num_key_value_heads")):
        given = [(key, config[key]) for key in NAMES[quantity] if config.get(key) is not None]
        if given:
            found[name] = integer(*given[0], at_least=1)
    return found


class Reader:
    """The state of one reading: the configuration, its rope dictionary, and the ledger of what was read."""

    def __init__(self, part: Part, layer_type: LayerType, request: Request) -> None:
        self.part, self.layer_type, self.row, self.request = part, layer_type, part.row, request
        self.ledger = Ledger()
        self.config = Section(part.config, self.ledger)
        self.rope = self._rope()

    def _rope(self) -> Section:
        """Return the rope dictionary of this layer type, the family's own where the source has none."""
        given = {key: self.config.peek(key) for key in ROPE_KEYS if self.config.peek(key)}
        if len(given) == 2 and given["rope_scaling"] != given["rope_parameters"] and self.request.strict:
            cure = "transformers takes rope_scaling: pass strict=False to do so."
            raise RopeError("rope_scaling", given["rope_scaling"], "differs from rope_parameters", cure, "R-12.6")
        if not given:
            return self._default_rope()
        key = "rope_scaling" if "rope_scaling" in given else "rope_parameters"
        for other in given:
            if other != key:
                self.config.ignore(other, f"{key} goes first (transformers)")
        rope = self.config.get(key, "the rope dictionary")
        if not isinstance(rope, Mapping):
            raise RopeError(key, rope, "must be an object", rule="R-12.6")
        del self.ledger.used[key]  # its keys are recorded one by one
        if any(isinstance(value, Mapping) for value in rope.values()):
            return self._layer_rope(key, rope)
        if "theta_key" in self.layer_type.overrides and not self.layer_type.overrides.get("legacy_scaling") and rope:
            self.ledger.notes.append(f"{key} belongs to other layers")
            return Section({}, self.ledger, key)
        return Section(rope, self.ledger, key)

    def _layer_rope(self, key: str, rope: Mapping[str, Any]) -> Section:
        outer = Section(rope, self.ledger, key)
        for name, value in rope.items():
            if not isinstance(value, Mapping):
                outer.ignore(name, "stands beside the dictionaries of layer types")
        inner = rope.get(self.layer_type.name)
        return Section(inner or self._own_rope(), self.ledger, f"{key}.{self.layer_type.name}")

    def _own_rope(self) -> dict[str, Any]:
        """Return what the row says of this layer type, as a rope dictionary."""
        aside = ("theta_key", "legacy_scaling", "head_dim", "head_dim_key", "base")
        return {key: value for key, value in self.layer_type.overrides.items() if key not in aside}

    def _default_rope(self) -> Section:
        rope = self._own_rope() if self.layer_type.overrides.get("rope_type") else self.row.get("rope", {})
        if rope:
            self.ledger.assume("rope_parameters", rope, f"the family's own: {self.row['source']}")
        return Section(rope, Ledger() if rope else self.ledger, "rope_parameters")

    # quantities of the configuration

    def quantity(self, name: str, why: str) -> Any:
        """Return a quantity under any of its names, else the family's default, recorded as an assumption."""
        value = self.config.first(NAMES.get(name, (name,)), why)
        if value is not None:
            return value
        value = self.row.get("defaults", {}).get(name)
        return None if value is None else self.ledger.assume(name, value, f"the family's default: {self.row['source']}")

    def quotient(self, expression: str) -> int | None:
        """Return "a" or "a/b/c" of quantities, divided as transformers divides, or None if one is missing."""
        first, *others = expression.split("/")
        if not others and first == "head_dim" and not any(n in self.config for n in NAMES["head_dim"]):
            default = self.row.get("defaults", {}).get("head_dim")
            return None if default is None else int(self.quantity("head_dim", ""))
        names = [first, *others]
        if any(not self._known(name) for name in names):
            return None
        result, *divisors = [integer(name, self.quantity(name, "of the head's size"), at_least=1) for name in names]
        for divisor in divisors:
            if result % divisor:
                self.ledger.notes.append(f"{expression}: {result} / {divisor} is rounded down, as transformers does")
            result //= divisor
        return result

    def _known(self, name: str) -> bool:
        return any(n in self.config for n in NAMES.get(name, (name,))) or name in self.row.get("defaults", {})

    def head_dim(self) -> int:
        key = self.layer_type.overrides.get("head_dim_key")
        per_layer = self._per_layer_head()
        if per_layer is not None:
            return per_layer
        if key and key in self.config:
            return integer(key, self.config.get(key, "the head's size in these layers"), at_least=2)
        if "head_dim" in self.layer_type.overrides:
            return int(
                self.ledger.assume(
                    "head_dim", self.layer_type.overrides["head_dim"], f"these layers': {self.row['source']}"
                )
            )
        for expression in self.row.get("head", ("head_dim", "hidden_size/num_attention_heads")):
            value = self.quotient(expression)
            if value:
                return value
        cure = "Pass head_dim."
        raise RopeError(
            "head_dim", None, "neither it nor hidden_size and num_attention_heads are given", cure, "R-12.6"
        )

    def _per_layer_head(self) -> int | None:
        """Return the head's size of a transformers object's `per_layer_config`, which holds what differs by layer."""
        overrides = self.config.peek("per_layer_config")
        if not isinstance(overrides, Mapping) or not self.layer_type.layers:
            return None
        by_layer = {int(key): value for key, value in overrides.items() if str(key).isdecimal()}  # keys like "05"
        own = by_layer.get(self.layer_type.layers[0])
        value = own.get("head_dim") if isinstance(own, Mapping) and "head" not in self.row else None
        if value is None:
            return None
        self.config.get("per_layer_config", "the head's size in these layers")
        return integer("per_layer_config.head_dim", value, at_least=2)

    def base(self) -> float | None:
        """Return the base: the rope dictionary's, else the configuration's, else the family's default."""
        own_key = self.layer_type.overrides.get("theta_key") or self.row.get("theta_key")
        names = (own_key,) if own_key else NAMES["rope_theta"]
        inside = self.rope.get("rope_theta", "the base")
        if "base" in self.layer_type.overrides:  # a base a layer goes before the one of all
            value = self.layer_type.overrides["base"]
            self.config.get(self.row["per_layer"], "the base of these layers")
        elif inside is not None:
            for name in names:
                self.config.ignore(name, f"{self.rope.label('rope_theta')} goes first")
            value = inside
        else:
            value = self.config.first(names, "the base")
        if own_key:
            for other in BASES:
                if other != own_key:
                    self.config.ignore(other, "belongs to other layers")
        if value is None:
            default = self.layer_type.overrides.get("rope_theta", self.row.get("defaults", {}).get("rope_theta"))
            if default is None:
                return None
            value = self.ledger.assume("rope_theta", default, f"the family's default: {self.row['source']}")
        ratio = self.config.get(self.row["ratio_key"], "multiplies the base") if "ratio_key" in self.row else None
        return number("rope_theta", value) * (1.0 if ratio is None else number(self.row["ratio_key"], ratio, above=0))

    def rotary_fraction(self) -> float:
        """Return the part of the head that rotates."""
        inside = self.rope.get("partial_rotary_factor", "the part of the head that rotates")
        names = NAMES["partial_rotary_factor"]
        if inside is not None:
            for name in names:
                self.config.ignore(name, f"{self.rope.label('partial_rotary_factor')} goes first")
            value = inside
        else:
            value = self.config.first(names, "the part of the head that rotates")
        if value is None:
            value = self._default_rotary_fraction()
        return 1.0 if value is None else number("partial_rotary_factor", value, above=0)

    def _default_rotary_fraction(self) -> Any:
        value = self.layer_type.overrides.get(
            "partial_rotary_factor", self.row.get("defaults", {}).get("partial_rotary_factor")
        )
        if value is None:
            return None
        return self.ledger.assume("partial_rotary_factor", value, f"the family's default: {self.row['source']}")

    def rotary_dim(self, head_dim: int, proportional: bool) -> int:
        """Return the number of lanes that rotate, which may be odd (`lanes` rounds it up)."""
        if "rotary" in self.row:
            return ROTARY_DIMS[self.row["rotary"]](self, head_dim)
        if proportional:
            return head_dim
        for name in NAMES["rotary_dim"]:
            if name in self.config and "partial_rotary_factor" not in self.rope:
                for other in NAMES["partial_rotary_factor"]:
                    self.config.ignore(other, f"{name} goes first")
                return integer(name, self.config.get(name, "lanes that rotate"), at_least=1)
            self.config.ignore(name, "partial_rotary_factor goes first")
        if not self._any_fraction() and self.row.get("defaults", {}).get("rotary_dim"):
            return int(self.quantity("rotary_dim", "lanes that rotate"))
        share = self.rotary_fraction()
        if "qk_rope_head_dim" in self.row.get("head", ()):
            if share != 1:
                self.ledger.notes.append(
                    "partial_rotary_factor is qk_rope_head_dim / head_dim: the plan is of the rotated slice"
                )
            return head_dim
        if share != 1 and not self.row.get("partial"):
            if "partial_rotary_factor" not in self.row.get("ignored", {}) and self.request.strict:
                cure = "Pass rotary_dim to rotate a part, or strict=False to follow the family."
                reason = f"is not read by this family's code ({self.row['source']}), which rotates the whole head"
                raise RopeError("partial_rotary_factor", share, reason, cure, "R-3.4")
            return head_dim
        return int(head_dim * share)  # rounded down in floating point, as everywhere in the field

    def _any_fraction(self) -> bool:
        return "partial_rotary_factor" in self.rope or any(n in self.config for n in NAMES["partial_rotary_factor"])

    def lengths(self) -> Lengths:
        return Lengths(
            longest=lambda: self.quantity("max_position_embeddings", "the longest context"),
            original=lambda: self.quantity("original_max_position_embeddings", "the length that it was trained for"),
        )

    def context(self) -> int | None:
        """Return the longest context that the configuration names, or that its family has; no rotation depends on it."""
        given = [self.config.peek(name) for name in NAMES["max_position_embeddings"]]
        given.append(self.row.get("defaults", {}).get("max_position_embeddings"))
        return next((value for value in given if isinstance(value, int) and value > 0), None)

    def overrule(self, known: Mapping[str, Any]) -> None:
        """Record the keys that the caller's keywords go before."""
        for keyword in known:
            inside: tuple[str, ...] = {"base": ("rope_theta",), "rotary_dim": ("partial_rotary_factor",)}.get(
                keyword, ()
            )
            if keyword == "scaling":
                inside = (*(name for name in self.rope if name not in COMMON), "rope_type", "type")
            for name in inside:
                self.rope.ignore(name, "the caller's goes first")
            for name in OVERRULED.get(keyword, ()):
                self.config.ignore(name, "the caller's goes first")

    def finish(self) -> None:
        """Refuse keys about RoPE that nobody read, and record those that take no part."""
        row_ignores: dict[str, str] = self.row.get("ignored", {})
        if "rotates_if" in self.row:
            self.config.get(self.row["rotates_if"]["key"], "whether it rotates")
        for name in self.config.unread():
            if name in row_ignores:
                self.config.ignore(name, row_ignores[name])
            elif name in NOT_ROTATION or name.startswith("memory_attention_rope_") or name in self.row.get("parts", {}):
                self.config.ignore(name, "does not change this rotation")
            elif name == self.row.get("per_layer"):
                self.config.get(name, "which layers rotate, and how")
        for name in ROPE_KEYS:
            if self.config.peek(name) == {}:
                self.config.ignore(name, "is empty")
        left = [name for name in self.config.unread() if ABOUT_ROPE.search(name)]
        self.config.refuse_unread(left, self.request.strict)


def _double(reader: Reader, head_dim: int) -> int:
    return 2 * int(head_dim * reader.rotary_fraction())  # the table of one axis beside that of the other


def _clvp(reader: Reader, head_dim: int) -> int:
    size, heads = (reader.quantity(n, "lanes that rotate") for n in ("projection_dim", "num_attention_heads"))
    return max(integer("projection_dim", size) // (2 * integer("num_attention_heads", heads, at_least=1)), 32)


ROTARY_DIMS = {"double": _double, "clvp": _clvp}
