"""The fields of `rope_parameters`: which a rope type needs, which it may have, and what each must be.

Transformers mostly warns about a value that can't be and computes on; here it is an error that names the field. Where
Transformers' warning is about a value that can be computed with, a warning it stays.
"""

import reprlib
import warnings
from collections.abc import Mapping
from typing import Any

from numpy_llama.errors import LlamaError, LlamaWarning

RopeParameters = Mapping[str, Any]

TRAINED = "original_max_position_embeddings"
STATES_TRAINED = ("llama3", "yarn", "longrope")  # types with that field: max_position_embeddings unless given
NEEDED: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor", TRAINED),  # factor may be null, but must be there
    "longrope": ("short_factor", "long_factor", TRAINED),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", TRAINED),
    "proportional": (),
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    "yarn": ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
    "longrope": ("factor", "attention_factor"),
    "proportional": ("factor",),
}
# Fields that may be null, which is then worked out from others, or the usual value.
NULL: dict[str, tuple[str, ...]] = {
    "yarn": ("factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"),
    "longrope": ("factor", "attention_factor"),
}
ANY_TYPE = ("rope_type", "rope_theta", "partial_rotary_factor")
SMALLEST, LARGEST = 1e-38, 1e38  # what float32 can hold, so that no quotient of two overflows float64


def rope_from_either_spelling(settings: dict[str, Any]) -> dict[str, Any] | None:
    """Take rope settings out of `settings`: rope_parameters, or rope_theta and rope_scaling (before Transformers 5).

    rope_scaling goes before rope_parameters; what stands inside goes before what stands beside, but for
    original_max_position_embeddings: all as in Transformers.

    returns  None where there are none
    raises   LlamaError where either is something else than an object
    """
    spellings = [settings.pop(name, None) for name in ("rope_scaling", "rope_parameters")]
    for spelling in spellings:
        if spelling is not None and not isinstance(spelling, Mapping):
            raise _error("", "an object", spelling)
    parameters = dict(spellings[0] or spellings[1] or {})
    if parameters.get("rope_type", parameters.get("type")) in STATES_TRAINED:
        outside = settings.pop(TRAINED, None)
        if outside is not None:
            parameters[TRAINED] = outside
    for name in ("rope_theta", "partial_rotary_factor"):
        outside = settings.pop(name, None)
        if outside is not None:
            parameters.setdefault(name, outside)
    return parameters or None


def standard_rope_parameters(parameters: RopeParameters | None, max_position_embeddings: int) -> dict[str, Any]:
    """rope_parameters with a rope_type and a rope_theta in every case, as Transformers standardises them."""
    parameters = dict(parameters or {})
    older_name = parameters.pop("type", None)
    parameters.setdefault("rope_type", "default" if older_name is None else older_name)
    parameters.setdefault("rope_theta", 10000.0)
    if parameters["rope_type"] in STATES_TRAINED:
        parameters.setdefault(TRAINED, max_position_embeddings)
    return parameters


def check_rope_parameters(parameters: RopeParameters, head_dim: int, max_position_embeddings: int) -> None:
    """Hold standard rope_parameters to what their type needs.

    raises  LlamaError for an unknown rope type, a missing field, or one that can't be
    warns   LlamaWarning for a field that the type doesn't have, and for values that are allowed, but surely not meant
    """
    rope_type = parameters["rope_type"]
    if not isinstance(rope_type, str):
        raise _error("rope_type", "a string", rope_type)
    if rope_type not in NEEDED:
        raise LlamaError(
            "unknown rope type",
            where="rope_parameters.rope_type",
            expected="one of " + ", ".join(NEEDED),
            found=_short(rope_type),
        )
    for name in ("rope_theta", *NEEDED[rope_type]):
        if name not in parameters:
            raise _error(name, _expected(name, head_dim), None)
    given = [name for name in (*NEEDED[rope_type], *OPTIONAL.get(rope_type, ())) if name in parameters]
    for name in ("rope_theta", *given):
        if not (parameters[name] is None and name in NULL.get(rope_type, ())):
            _check_field(name, parameters[name], head_dim)
    _check_together(rope_type, parameters, max_position_embeddings)
    _check_partial_rotary_factor(rope_type, parameters, head_dim)
    for remark in _remarks(rope_type, parameters, max_position_embeddings):
        warnings.warn(f"rope_parameters: {remark}", LlamaWarning, stacklevel=4)


# -- one field ---------------------------------------------------------------------------------------------------------


def _check_field(name: str, value: object, head_dim: int) -> None:
    if name in ("short_factor", "long_factor"):
        fits = isinstance(value, list | tuple) and len(value) == head_dim // 2 and all(map(_is_positive, value))
    elif name == "truncate":
        fits = isinstance(value, bool)
    elif name in ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"):
        fits = _is_positive(value) or (_is_number(value) and value == 0)
    else:
        fits = _is_positive(value)
    if not fits:
        raise _error(name, _expected(name, head_dim), value)


def _expected(name: str, head_dim: int) -> str:
    if name in ("short_factor", "long_factor"):
        return f"a list of {head_dim // 2} positive numbers (head_dim / 2)"
    if name == "truncate":
        return "true or false"
    if name in ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"):
        return "a number, 0 or more"
    return "a positive number"


# -- several fields ----------------------------------------------------------------------------------------------------


def _check_together(rope_type: str, parameters: RopeParameters, max_position_embeddings: int) -> None:
    """What each field may be by itself, but not beside the others: there would be a division by zero."""
    if rope_type == "yarn" and parameters["rope_theta"] == 1:
        raise _error("rope_theta", "other than 1 with rope type yarn", parameters["rope_theta"])
    if rope_type == "longrope" and parameters.get("attention_factor") is None and parameters[TRAINED] <= 1:
        factor = parameters.get("factor")
        if (max_position_embeddings / parameters[TRAINED] if factor is None else factor) > 1:
            raise _error(TRAINED, "more than 1, or attention_factor beside it", parameters[TRAINED])


def _check_partial_rotary_factor(rope_type: str, parameters: RopeParameters, head_dim: int) -> None:
    """Of the seven types, proportional alone turns a part of the channels. Default passes over the factor; the others
    come to fewer frequencies than a head has pairs, which Transformers can't apply, unless rounding leaves them D/2.

    How many they come to is what NumPy's and torch's broadcasting makes of the lengths of the arrays in the formula.
    """
    factor = parameters.get("partial_rotary_factor", 1.0)
    if rope_type == "default" and factor is None:
        return
    if not (_is_number(factor) and abs(factor) <= LARGEST):
        raise _error("partial_rotary_factor", "a number", factor)
    pairs, dim = head_dim // 2, int(head_dim * factor)
    if rope_type == "default":
        return
    if rope_type == "proportional":
        if not 0 <= int(factor * head_dim // 2) <= pairs:
            raise _error("partial_rotary_factor", "a number from 0 to 1", factor)
        return
    lengths = {"yarn": {dim // 2}, "longrope": {pairs}}.get(rope_type, set()) | {(dim + 1) // 2}
    if pairs not in lengths or not lengths <= {1, pairs}:
        raise _error("partial_rotary_factor", f"1.0 with rope type {rope_type}, which turns whole heads", factor)
    if rope_type == "dynamic" and dim == 2:
        raise _error("rope_type", "another than dynamic where head_dim is 2: its exponent is D / (D − 2)", rope_type)


def _remarks(rope_type: str, parameters: RopeParameters, max_position_embeddings: int) -> list[str]:
    """What Transformers warns about, too, and what it passes over in silence."""
    remarks = []
    known = {*ANY_TYPE, *NEEDED[rope_type], *OPTIONAL.get(rope_type, ())}
    unknown = sorted(str(name) for name in parameters.keys() - known)
    if unknown:
        remarks.append(f"fields that rope type {rope_type} doesn't have are not used: {reprlib.repr(unknown)}")
    if rope_type == "default" and parameters.get("partial_rotary_factor") not in (None, 1):
        remarks.append("partial_rotary_factor has no effect with rope type default, here as in Transformers")
    factor = parameters.get("factor") if rope_type != "default" else None
    if factor is not None and factor < 1:
        remarks.append(f"factor {factor} is less than 1: texts are stretched, not squeezed")
    if rope_type == "llama3" and parameters["high_freq_factor"] <= parameters["low_freq_factor"]:
        remarks.append("high_freq_factor is not greater than low_freq_factor: no pair lies between the two")
    if rope_type == "llama3" and parameters[TRAINED] >= max_position_embeddings:
        remarks.append(f"{TRAINED} is not less than max_position_embeddings")
    if rope_type == "yarn":
        if (parameters.get("beta_fast") or 32) < (parameters.get("beta_slow") or 1):
            remarks.append("beta_fast is less than beta_slow")
        ratio = max_position_embeddings / parameters[TRAINED]
        if factor is not None and ratio not in (1, factor):
            remarks.append(f"factor is {factor}, and max_position_embeddings / {TRAINED} is {ratio:g}; factor counts")
    return remarks


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_positive(value: object) -> bool:
    return _is_number(value) and SMALLEST <= value <= LARGEST  # type: ignore[operator]


def _short(value: object) -> str:
    """The value as Python writes it, a long one cut in the middle."""
    return reprlib.repr(value)


def _error(name: str, expected: str, found: object) -> LlamaError:
    where = f"rope_parameters.{name}" if name else "rope_parameters"
    length = f" of length {len(found)}" if isinstance(found, list | tuple) else ""
    return LlamaError("impossible value", where=where, expected=expected, found=_short(found) + length)
