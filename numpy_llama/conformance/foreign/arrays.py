"""The border: our arrays as those of somebody's framework, and whatever comes back as ours.

    border = Border("torch")
    theirs = border.out(array)        # ndarray → torch.Tensor
    ours = back(their_function(theirs))  # torch.Tensor → ndarray

A framework is imported by name, and only when somebody asks for it. What comes back needs no name: it is known by what
it can do.
"""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from numpy_llama.conformance.apart import Unusable
from numpy_llama.precision import DTYPES

FRAMEWORKS = ("numpy", "torch", "jax")


class Border:
    """Makes arrays of one framework.

    framework  numpy, torch or jax
    raises     Unusable where it isn't installed
    """

    def __init__(self, framework: str = "numpy"):
        self.framework = framework
        try:
            self._make, self._dtype = _MAKERS[framework]()
        except ImportError as error:
            raise Unusable(f"--arrays {framework}: can't be imported: {error}") from None

    def holds(self, dtype: np.dtype) -> bool:
        """Whether the framework has arrays of a dtype; JAX has float64 only where it is told to."""
        return bool(np.asarray(back(self._make(np.zeros(1, dtype)))).dtype == dtype)

    def out(self, value: Any) -> Any:
        """An array or a dtype as the framework's own, the same numbers in the same dtype; anything else as it is.

        A tuple or list of arrays is taken apart. No array shares memory with ours.
        """
        if isinstance(value, np.ndarray):
            return self._make(value)
        if isinstance(value, np.dtype):
            return self._dtype(value)
        if isinstance(value, tuple | list):
            return type(value)(self.out(part) for part in value)
        return value


def back(value: Any) -> Any:
    """What somebody's function returned, as ndarrays where it is arrays; anything else as it is.

    Arrays are known by duck typing: `.detach().cpu().numpy()` (torch), `__array__` (JAX and others), `__dlpack__`.
    """
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    if isinstance(value, tuple):
        return tuple(back(part) for part in value)
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        return _from_torch(value)
    if hasattr(value, "__array__"):
        return np.asarray(value)
    if hasattr(value, "__dlpack__"):
        return np.from_dlpack(value)
    return value


def _from_torch(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":  # which NumPy doesn't know, and torch won't hand over
        return tensor.float().numpy().astype(DTYPES["bfloat16"])
    array: np.ndarray = tensor.numpy()
    return array


def _numpy() -> tuple[Callable[[np.ndarray], Any], Callable[[np.dtype], Any]]:
    def make(array: np.ndarray) -> np.ndarray:
        copy = np.array(array)
        copy.flags.writeable = False  # no block may change what it is given
        return copy

    return make, lambda dtype: dtype


def _torch() -> tuple[Callable[[np.ndarray], Any], Callable[[np.dtype], Any]]:
    torch = importlib.import_module("torch")

    def make(array: np.ndarray) -> Any:
        if array.dtype == DTYPES["bfloat16"]:
            return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
        return torch.from_numpy(np.array(array))

    return make, lambda dtype: getattr(torch, dtype.name)


def _jax() -> tuple[Callable[[np.ndarray], Any], Callable[[np.dtype], Any]]:
    jax = importlib.import_module("jax.numpy")
    return jax.asarray, lambda dtype: dtype


_MAKERS = {"numpy": _numpy, "torch": _torch, "jax": _jax}
