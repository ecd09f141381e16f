"""The process that renders a checkpoint's chat template: a program that came with a file, and isn't trusted.

    stdin   one JSON object a line: {"template": "{% for …", "values": {"messages": […], …}, "characters": 1000000}
    stdout  one JSON object a line: {"text": "…"}, or {"error": "…", "line": 3}

Two walls. jinja2's sandbox keeps a template away from Python: it reads what it is given and writes text, and that is
all it can do. It can still do it for ever, or double a string forty times. So it does it here, where memory is limited,
no file can be opened and no process started; who waits at the other end (chat_process.py) stops the clock.

Run by its path, as a script: it imports nothing of this package, and so starts in a moment.
"""

import json
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any, NoReturn

import jinja2
import jinja2.debug
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY = 512 * 1024 * 1024  # bytes, of which Python and jinja2 take a tenth


class Generation(jinja2.ext.Extension):
    """{% generation %} … {% endgeneration %}, which marks the assistant's words in a template, and writes them."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> list[Any]:
        """The statements between the two tags."""
        next(parser.stream)
        statements: list[Any] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return statements


class Dict:
    """What `dict` is in a template: it makes dicts, and has no attributes of the type."""

    def __call__(self, *values: Any, **more: Any) -> dict[Any, Any]:
        return dict(*values, **more)

    def fromkeys(self, keys: Any, value: Any = None) -> dict[Any, Any]:
        """A dict of these keys."""
        return dict.fromkeys(keys, value)


class Namespace(jinja2.utils.Namespace):
    """What `namespace` makes in a template: attributes that can be set, except those with an underscore in front."""

    def __init__(*values: Any, **more: Any) -> None:  # so that an attribute may be called self
        self, *rest = values
        attributes = dict(*rest, **more)
        for name in attributes:
            _check_public(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_public(name)
        super().__setitem__(name, value)


def _check_public(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace can't have an attribute {name!r}")


def raise_exception(message: str) -> NoReturn:
    """A template's own way to say that messages don't fit it."""
    raise jinja2.exceptions.TemplateError(message)


def strftime_now(format: str) -> str:
    """Date and time, for templates that tell the model what day it is."""
    return datetime.now().strftime(format)


def tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON as Python writes it; jinja2's own would escape HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _environment() -> ImmutableSandboxedEnvironment:
    """What transformers gives a template, and nothing else."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    more: dict[str, Any] = {"raise_exception": raise_exception, "strftime_now": strftime_now}
    environment.globals |= {**more, "dict": Dict(), "namespace": Namespace}
    return environment


ENVIRONMENT = _environment()


@lru_cache(maxsize=8)
def _compiled(template: str) -> jinja2.Template:
    return ENVIRONMENT.from_string(template)


def render(template: str, values: Mapping[str, Any], characters: int) -> dict[str, Any]:
    """The answer to one request: the text, or what is wrong and in which line of the template."""
    try:
        parts: list[str] = []
        for part in _compiled(template).generate(**values):
            parts.append(part)
            characters -= len(part)
            if characters < 0:
                return {"error": "writes too much", "line": None}
        return {"text": "".join(parts)}
    except MemoryError:
        raise
    except jinja2.TemplateSyntaxError as error:
        return {"error": error.message or "wrong syntax", "line": error.lineno}
    except RecursionError as error:
        return {"error": "nests too deep", "line": _line(error)}
    except Exception as error:  # whatever a program can come to
        name = "" if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: "
        return {"error": f"{name}{error}"[:1000], "line": _line(error)}


def _line(error: BaseException) -> int | None:
    """Where in the template it happened; jinja2 has put its lines into the traceback."""
    found, traceback = None, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            found = traceback.tb_lineno
        traceback = traceback.tb_next
    return found


def _limit() -> None:
    """Less memory than would hurt, no files, no processes: as far as the system can say so (Windows can't)."""
    # What would open a file later: a codec, the time zone, modules that jinja2 imports when it needs them.
    render("{{ '\\n' ~ strftime_now('%Y') ~ [1]|pprint ~ 1.0|round ~ 'a'|urlize }}{{ raise_exception('') }}", {}, 1000)
    with suppress(ImportError):
        import resource

        limits = {"RLIMIT_AS": MEMORY, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0, "RLIMIT_NPROC": 0, "RLIMIT_NOFILE": 3}
        for name, limit in limits.items():
            with suppress(AttributeError, ValueError, OSError):
                resource.setrlimit(getattr(resource, name), (limit, limit))


def main() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever waits
    read: Callable[[], bytes] = sys.stdin.buffer.readline
    write = sys.stdout.buffer
    _limit()
    ready: dict[str, Any] = {"jinja2": jinja2.__version__}
    answers = (render(**json.loads(line)) for line in iter(read, b""))
    try:
        for answer in chain([ready], answers):
            write.write(json.dumps(answer).encode("ascii") + b"\n")
            write.flush()
    except MemoryError:
        write.write(b'{"error": "memory", "line": null}\n')  # and end: what is left isn't to be relied on
        write.flush()


if __name__ == "__main__":
    main()
