"""The one exception of this package, and the one warning.

Whatever is wrong with a file, an argument or a number, the message answers four questions in the same order:
where was it found, what is wrong, what was expected, what was there instead.
"""


class LlamaError(ValueError):
    """Something given to numpy_llama can't be used.

    what      one clause saying what is wrong: "wrong shape"
    where     the file, the tensor, the argument: "model.safetensors: model.norm.weight"
    expected  what would have been right: "(128,)"
    found     what was there instead: "(64,)"

    The four are kept as attributes; str() joins them into one line:
    "model.safetensors: model.norm.weight: wrong shape; expected (128,), found (64,)".
    """

    def __init__(self, what: str, *, where: object = None, expected: object = None, found: object = None):
        self.what, self.where, self.expected, self.found = what, where, expected, found
        super().__init__(self._message())

    def inside(self, place: object) -> "LlamaError":
        """The same error with a larger place before its own: the file, the call."""
        where = place if self.where is None else f"{place}: {self.where}"
        return LlamaError(self.what, where=where, expected=self.expected, found=self.found)

    def _message(self) -> str:
        message = self.what if self.where is None else f"{self.where}: {self.what}"
        details = []
        if self.expected is not None:
            details.append(f"expected {self.expected}")
        if self.found is not None:
            details.append(f"found {self.found}")
        return f"{message}; {', '.join(details)}" if details else message


class LlamaWarning(UserWarning):
    """Something was accepted that is worth a second look: an unknown config field, a text past the trained context."""
