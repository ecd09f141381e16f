"""The pickle inside a file of torch.save, read without unpickling.

A pickle is a program: a row of instructions for a machine with a stack and a memo. Python's own machine looks up any
function that the program names and calls it with whatever the program says, which is how a file of weights can erase a
disk. What torch writes needs little of that: numbers, strings, tuples, dicts, and four names

    torch._utils._rebuild_tensor_v2   a piece of a storage, seen with a shape and strides
    torch._utils._rebuild_parameter   such a tensor, to be trained
    torch.BFloat16Storage, …          the dtype of a storage
    collections.OrderedDict           a dict

So here is a machine that knows these four and nothing else. It imports nothing and calls nothing: a name is a pair of
strings, and "calling" one of the four makes one of the records below. Any other name is refused, by that name, before
the program goes on.

source  pickletools of Python's standard library, which describes every instruction; torch.serialization
"""

import pickletools
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy_llama.errors import LlamaError

PICKLE_LIMIT = 1024 * 1024  # bytes; a tensor takes some 150, and the largest model has a thousand
MOST_DIMENSIONS = 8

STORAGE_DTYPES = {"DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16"}
TENSOR = ("torch._utils", "_rebuild_tensor_v2")
PARAMETER = ("torch._utils", "_rebuild_parameter")
ORDERED_DICT = ("collections", "OrderedDict")
MARK = object()


@dataclass(frozen=True)
class Global:
    """Something that the program asks for by its name. It stays a name."""

    module: str
    name: str


@dataclass(frozen=True)
class Storage:
    """A row of numbers in a file of its own in the archive.

    key    name of that file
    dtype  "F64", "F32", "F16" or "BF16"
    count  how many numbers it should have
    """

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class TensorRecord:
    """A piece of a storage, seen with a shape; number [i, j] is number offset + i · strides[0] + j · strides[1]."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_pickle(program: bytes, where: Path | str) -> dict[str, TensorRecord]:
    """Run the program of a state dict.

    program  the archive's data.pkl
    where    for error messages
    returns  {name: tensor}, in the program's order
    raises   LlamaError naming the name that it asks for and may not have, or saying what else is wrong with it, and at
             which byte
    """
    if len(program) > PICKLE_LIMIT:
        raise LlamaError("too large", where=where, expected=f"at most {PICKLE_LIMIT} bytes", found=len(program))
    machine = _Machine()
    position = 0
    try:
        for instruction, argument, place in pickletools.genops(program):
            position = int(place or 0)
            machine.run(instruction.name, argument)
    except LlamaError as error:
        place_said = f"{where}: byte {position}"
        raise LlamaError(error.what, where=place_said, expected=error.expected, found=error.found) from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        # A stack that runs empty, a memo that was never filled, an argument cut short, text that isn't UTF-8.
        said = reprlib.repr(str(error))
        raise LlamaError(f"not a pickle of torch.save ({said})", where=f"{where}: byte {position}") from None
    return _state_dict(machine.result, where)


class _Machine:
    """The stack, the memo, and what each instruction does to them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.result: Any = None

    def run(self, instruction: str, argument: Any) -> None:
        """One instruction.

        raises  LlamaError where a state dict doesn't need it
        """
        stack = self.stack
        match instruction:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                self.result = stack.pop()
            case "MARK":
                stack.append(MARK)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[instruction])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(instruction[-1])
                items = [stack.pop() for _ in range(count)]
                stack.append(tuple(reversed(items)))
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "APPEND":
                item = stack.pop()
                self._top(list).append(item)
            case "APPENDS":
                items = self._since_mark()
                self._top(list).extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._set([key, value])
            case "SETITEMS":
                self._set(self._since_mark())
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(_allowed(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_allowed(module, name))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_called(function, arguments))
            case "BUILD":  # attributes of an OrderedDict (torch keeps versions of modules there): dropped
                attributes = stack.pop()
                self._top(dict)
                _check(isinstance(attributes, dict), "attributes in a dict", attributes)
            case _:
                raise LlamaError("an instruction that no state dict needs", found=instruction)

    def _since_mark(self) -> list[Any]:
        """Everything above the last mark, which goes, too."""
        items = []
        while (item := self.stack.pop()) is not MARK:
            items.append(item)
        return items[::-1]

    def _top(self, kind: type) -> Any:
        _check(isinstance(self.stack[-1], kind), f"a {kind.__name__} to put it into", self.stack[-1])
        return self.stack[-1]

    def _set(self, items: list[Any]) -> None:
        keys, values = items[::2], items[1::2]
        content = self._top(dict)
        for key, value in zip(keys, values, strict=True):
            _check(isinstance(key, str), "a name", key)
            _check(key not in content, "every name once", key)
            content[key] = value


def _allowed(module: object, name: object) -> Global:
    """raises  LlamaError for a name that isn't one of the four"""
    fits = (module, name) in (TENSOR, PARAMETER, ORDERED_DICT) or (module == "torch" and name in STORAGE_DTYPES)
    if not fits or not isinstance(module, str) or not isinstance(name, str):
        found = f"{_short(module)}.{_short(name)}"
        raise LlamaError("the file asks for code, which is not run", expected="tensors alone", found=found)
    return Global(module, name)


def _called(function: object, arguments: object) -> Any:
    """What "calling" one of the allowed names gives."""
    _check(isinstance(function, Global) and isinstance(arguments, tuple), "a name and its arguments", function)
    assert isinstance(function, Global)
    assert isinstance(arguments, tuple)
    match (function.module, function.name), arguments:
        case (("collections", "OrderedDict"), ()):
            return {}
        case (("torch._utils", "_rebuild_parameter"), (TensorRecord() as tensor, bool(), dict())):
            return tensor
        case (
            ("torch._utils", "_rebuild_tensor_v2"),
            (Storage() as storage, offset, shape, strides, bool(), dict(), *_),
        ):
            return _tensor(storage, offset, shape, strides)
    raise LlamaError("arguments that torch doesn't write", found=f"{function.name}{_short(arguments)}")


def _storage(identity: object) -> Storage:
    match identity:
        case ("storage", Global(module="torch", name=name), str() as key, str(), int() as count):
            if name in STORAGE_DTYPES and 0 <= count < 2**60:
                return Storage(key, STORAGE_DTYPES[name], count)
    raise LlamaError("no storage", expected="('storage', type, file, device, numbers)", found=_short(identity))


def _tensor(storage: Storage, offset: Any, shape: Any, strides: Any) -> TensorRecord:
    """raises  LlamaError where a number of the tensor would lie outside its storage"""
    sizes = (offset,), shape, strides
    whole = all(
        isinstance(one, tuple) and all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**60 for n in one)
        for one in sizes
    )
    if not whole or len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS:
        raise LlamaError("impossible tensor", expected="offset, shape and strides", found=_short(sizes))
    numbers, last = 1, offset
    for size, stride in zip(shape, strides, strict=True):
        numbers *= size
        last += (size - 1) * stride
    # A stride of 0 would make a tensor of any size out of one number.
    if numbers > storage.count or (numbers and last >= storage.count):
        found = f"shape {shape}, strides {strides} from {offset} on"
        raise LlamaError("a tensor leaves its storage", expected=f"{storage.count} numbers", found=found)
    return TensorRecord(storage, offset, shape, strides)


def _state_dict(result: object, where: Path | str) -> dict[str, TensorRecord]:
    if not isinstance(result, dict):
        found = type(result).__name__
        raise LlamaError("no state dict", where=where, expected="tensors under their names", found=found)
    for name, value in result.items():
        if not isinstance(value, TensorRecord):
            found = type(value).__name__
            raise LlamaError("not a tensor", where=f"{where}: {_short(name)}", expected="a tensor", found=found)
    return result


def _check(fits: bool, expected: str, found: object) -> None:
    if not fits:
        raise LlamaError("not a pickle of torch.save", expected=expected, found=_short(found))


def _short(value: object) -> str:
    """A value in a few words, however deep or long it is; a name without quotes."""
    text = value if isinstance(value, str) and value.isprintable() else reprlib.repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
