"""The quantities of one RoPE in a Hugging Face configuration: which key says what, and what the
family's row says instead.
"""

from collections.abc import Mapping
from typing import Any

from ropecore.errors import RopeError, integer, number
from ropecore.read.agreement import DROPS, check_agreement, check_outside, note_dropped, same_rope
from ropecore.read.key_types import check_types
from ropecore.read.layers import LayerType
from ropecore.read.ledger import Ledger, Section
from ropecore.read.parts import ABOUT_ROPE, ROPE_KEYS, Part, Request, is_nested
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
    "partial_rotary_factor": ("partial_rotary_factor", "rotary_pct", "rope_pct", "rotary_emb_fraction", "rope_percent"),
    "rotary_dim": ("rotary_dim", "rope_dim"),
}  # fmt: skip

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

# keys about RoPE that do not change a rotation: which layers are scaled, and what other keys say
# already
NOT_ROTATION = ("rope_scaling_layers", "qk_rope_head_dim", "no_rope_layer_interval", "indexer_rope_interleave")


def head_counts(config: Mapping[str, Any]) -> dict[str, int]:
    """Return those of n_heads and n_kv_heads that the keys of one model
    say, by any of their names.
    """
    found = {}
    for name, quantity in (("n_heads", "num_attention_heads"), ("n_kv_heads", "num_key_value_heads")):
        given = [(key, config[key]) for key in NAMES[quantity] if config.get(key) is not None]
        if given:
            found[name] = integer(*given[0], at_least=1)
    return found


# columns of a row that a layer type may have of its own
BY_LAYER = ("dropped", "pairing", "out_pairing", "head", "partial", "rotary_key", "axes", "sections", "yarn")


class Reader:
    """The state of one reading: the configuration, its rope dictionary, and the ledger of what was
    read.
    """

    def __init__(self, part: Part, layer_type: LayerType, request: Request) -> None:
        self.part, self.layer_type, self.request = part, layer_type, request
        self.row = {**part.row, **{key: value for key, value in layer_type.overrides.items() if key in BY_LAYER}}
        check_types(part.config)
        self.ledger = Ledger()
        self.config = Section(part.config, self.ledger)
        self.rope_is_own = False  # whether the rope dictionary is the family's, not the file's
        self.rope = self._rope()

    def _rope(self) -> Section:
        """Return the rope dictionary of this layer type, the family's own where the source has
        none.
        """
        given = {}
        for key in ROPE_KEYS:
            value = self.config.peek(key)
            if value is not None and not isinstance(value, Mapping):
                raise RopeError(key, value, "must be an object", rule="R-12.6")
            if value:
                given[key] = value
        if len(given) == 2 and not same_rope(*given.values()) and self.request.strict:
            cure = "transformers takes rope_scaling: pass strict=False to do so."
            raise RopeError("rope_scaling", given["rope_scaling"], "differs from rope_parameters", cure, "R-12.6")
        if not given:
            return self._default_rope()
        key = next(iter(given))
        for other in given:
            if other != key:
                self.config.ignore(other, f"{key} goes first (transformers)")
        rope = self.config.get(key, "the rope dictionary")
        note_dropped(self, key, rope)
        del self.ledger.used[key]  # its keys are recorded one by one
        if is_nested(rope):
            return self._layer_rope(key, rope)
        if not self._is_scaled():
            self.ledger.notes.append(f"{key} belongs to other layers")
            return Section({}, self.ledger, key)
        return Section(self._completed(rope), self.ledger, key)

    def _is_scaled(self) -> bool:
        """Return whether a rope dictionary that stands for all layers is this layer type's."""
        layers = [own for own in self.part.row.get("layers", {}).values() if own]
        chosen = str(self.row.get("scaled_types_key", ""))
        types = self.config.get(chosen, "layer types that are scaled") if chosen else None
        if types is not None:
            if not isinstance(types, (list, tuple)):
                raise RopeError(chosen, types, "must be a list of layer types", rule="R-12.6")
            return self.layer_type.key in types
        return not any(own.get("scaled") for own in layers) or bool(self.layer_type.overrides.get("scaled"))

    def _completed(self, rope: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a rope dictionary with what the family's configuration
        class adds to one of YaRN.
        """
        names = self.row.get("rule_names", {})
        rope = {
            key: names[value] if isinstance(value, str) and value in names else value for key, value in rope.items()
        }
        added = self.row.get("yarn", {})
        if "yarn" not in (rope.get("rope_type"), rope.get("type")) or all(rope.get(key) is not None for key in added):
            return rope
        for key, value in added.items():
            if rope.get(key) is None:
                self.ledger.assume(key, value, f"the configuration class sets it: {self.row['source']}")
        return {**added, **{key: value for key, value in rope.items() if value is not None}}

    def _layer_rope(self, key: str, rope: Mapping[str, Any]) -> Section:
        outer = Section(rope, self.ledger, key)
        for name, value in rope.items():
            if not isinstance(value, Mapping):
                outer.ignore(name, "stands beside the dictionaries of layer types")
        name = self.layer_type.key
        return Section(self._completed(rope.get(name) or self._own_rope()), self.ledger, f"{key}.{name}")

    def _own_rope(self) -> dict[str, Any]:
        """Return what the row says of this layer type, as a rope dictionary."""
        aside = ("theta_key", "scaled", "head_dim", "head_dim_key", "base", "rotary_fraction", *BY_LAYER)
        return {key: value for key, value in self.layer_type.overrides.items() if key not in aside}

    def _default_rope(self) -> Section:
        rope = self._own_rope() if self.layer_type.overrides.get("rope_type") else self.row.get("rope", {})
        self.rope_is_own = bool(rope)
        if rope:
            self.ledger.assume("rope_parameters", rope, f"the family's own: {self.row['source']}")
        return Section(rope, Ledger() if rope else self.ledger, "rope_parameters")

    def why_no_lanes(self) -> str:
        """Return what says that no lane rotates, a size or a fraction of 0, or ""."""
        names = [name for name in (*self.row.get("head", ()), self.row.get("rotary_key")) if name == "qk_rope_head_dim"]
        fractions = NAMES["partial_rotary_factor"] if self.row.get("partial") else ()
        for section, keys in ((self.rope, fractions), (self.config, (*names, *NAMES["rotary_dim"], *fractions))):
            for name in keys:
                value = section.peek(name)
                if type(value) in (int, float) and value == 0:
                    return f"{section.label(name)} is 0"
        return (
            "its entry of partial_rotary_factors is 0" if self.layer_type.overrides.get("rotary_fraction") == 0 else ""
        )

    # quantities of the configuration

    def quantity(self, name: str, why: str) -> Any:
        """Return a quantity under any of its names, else the family's default, recorded as an
        assumption.
        """
        value = self.config.first(NAMES.get(name, (name,)), why)
        if value is not None:
            return value
        value = self.row.get("defaults", {}).get(name)
        return None if value is None else self.ledger.assume(name, value, f"the family's default: {self.row['source']}")

    def quotient(self, expression: str) -> int | None:
        """Return "a" or "a/b/c" of quantities, divided as transformers divides, or None if one is
        missing.
        """
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
        """Return the head's size of a transformers object's `per_layer_config`, which holds what
        differs by layer.
        """
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
        """Return the base: the rope dictionary's, else the configuration's, else the family's
        default.
        """
        own_key = self.layer_type.overrides.get("theta_key")
        names: tuple[str, ...] = (own_key,) if own_key else NAMES["rope_theta"]
        if "theta_key" in self.row:
            names = (self.row["theta_key"], *names)
        inside = self._base_inside(names)
        if "base" in self.layer_type.overrides:  # a base a layer goes before the one of all
            value = self.layer_type.overrides["base"]
            self._ignore_behind_lists(inside)
        elif inside is not None:
            for name in names:
                self.config.ignore(name, f"{self.rope.label('rope_theta')} goes first")
            value = inside
        else:
            value = self.config.first(names, "the base")
            taken = next((name for name in names if name in self.config), None)
            if taken not in (None, self.row.get("theta_key")) and "theta" in self.row.get("dropped", ()):
                self.ledger.notes.append(f"{DROPS} a rope_theta outside the rope dictionary in this family")
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

    def _base_inside(self, names: tuple[str, ...]) -> Any:
        """Return the rope dictionary's base, or None where one of these keys outside goes before
        it.
        """
        outside = any(name in self.config for name in names)
        if self.rope_is_own and outside and "layers" not in self.part.row:
            return None  # the file says it, and the dictionary is the family's
        if self.row.get("flat_base_outside") and "." not in self.rope.path:
            self.rope.ignore("rope_theta", "the configuration class takes the base from outside")
            return None
        return self.rope.get("rope_theta", "the base")

    def _ignore_behind_lists(self, inside: Any) -> None:
        """Record the bases that a list with one entry a layer goes before."""
        lists = [key for key, meaning in self.row["lists"].items() if meaning == "base" and self._is_list(key)]
        if inside is not None:
            self.rope.ignore("rope_theta", f"{lists[0]} goes first")
        for name in NAMES["rope_theta"]:
            if name not in lists:
                self.config.ignore(name, f"{lists[0]} goes first")

    def _is_list(self, key: str) -> bool:
        return isinstance(self.config.peek(key), (list, tuple))

    def rotary_fraction(self) -> float:
        """Return the part of the head that rotates."""
        if "rotary_fraction" in self.layer_type.overrides:
            return number("partial_rotary_factor", self.layer_type.overrides["rotary_fraction"], at_least=0)
        inside = self.rope.get("partial_rotary_factor", "the part of the head that rotates")
        names = tuple(
            dict.fromkeys((self.row.get("partial_key", "partial_rotary_factor"), *NAMES["partial_rotary_factor"]))
        )
        if inside is not None:
            for name in names:
                self.config.ignore(name, f"{self.rope.label('partial_rotary_factor')} goes first")
            value = inside
        else:
            value = self.config.first(names, "the part of the head that rotates")
        if value is None:
            value = self._default_rotary_fraction()
        return 1.0 if value is None else number("partial_rotary_factor", value, at_least=0)

    def _default_rotary_fraction(self) -> Any:
        own, value = self.layer_type.overrides, self.row.get("defaults", {}).get("partial_rotary_factor")
        if "rope_type" not in own or self.rope_is_own:  # else it belongs to a dictionary that the file replaces
            value = own.get("partial_rotary_factor", value)
        if value is None:
            return None
        return self.ledger.assume("partial_rotary_factor", value, f"the family's default: {self.row['source']}")

    def rotary_dim(self, head_dim: int, proportional: bool) -> int:
        """Return the number of lanes that rotate, which may be odd (`lanes` rounds it up)."""
        if "rotary" in self.row:
            return ROTARY_DIMS[self.row["rotary"]](self, head_dim)
        if proportional:
            return head_dim
        own_key = self.row.get("rotary_key")
        if own_key and own_key in self.config and not self._any_fraction():
            return integer(own_key, self.config.get(own_key, "lanes that rotate"))
        for name in NAMES["rotary_dim"]:
            if name in self.config and "partial_rotary_factor" not in self.rope:
                for other in NAMES["partial_rotary_factor"]:
                    self.config.ignore(other, f"{name} goes first")
                return integer(name, self.config.get(name, "lanes that rotate"))
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
        if "rotary_fraction" in self.layer_type.overrides:
            return True
        return "partial_rotary_factor" in self.rope or any(n in self.config for n in NAMES["partial_rotary_factor"])

    def lengths(self) -> Lengths:
        def length(name: str, why: str) -> int | None:
            value = self.quantity(name, why)
            return (
                None if value is None else integer(name, int(value) if isinstance(value, float) else value, at_least=1)
            )

        return Lengths(
            longest=lambda: length("max_position_embeddings", "the longest context"),
            original=lambda: length("original_max_position_embeddings", "the length that it was trained for"),
        )

    def context(self) -> int | None:
        """Return the longest context that the configuration names, or that its family has; no
        rotation depends on it.
        """
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

    def finish(self, pairing: str) -> None:
        """Refuse keys about RoPE that nobody read, and record those that take no part."""
        check_agreement(self, pairing)
        row_ignores: dict[str, str] = self.row.get("ignored", {})
        if "rotates_if" in self.row:
            self.config.get(self.row["rotates_if"]["key"], "whether it rotates")
        for name in self.config.unread():
            if name in row_ignores:
                self.config.ignore(name, row_ignores[name])
            elif name in NOT_ROTATION or name.startswith("memory_attention_rope_") or name in self.row.get("parts", {}):
                self.config.ignore(name, "does not change this rotation")
            elif name in self.row.get("lists", {}):
                self.config.get(name, "a value a layer")
        check_outside(self)
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
