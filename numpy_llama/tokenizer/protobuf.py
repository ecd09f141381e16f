"""Protobuf's wire format, as far as a tokenizer.model needs it.

A message is a row of fields, each a key (field number · 8 + wire type) and a value:

    wire type 0   a varint: seven bits a byte, lowest first; the top bit says "more follows"
    wire type 1   8 bytes         wire type 5   4 bytes, here a little-endian float
    wire type 2   a length as a varint, then so many bytes: a string, or a message in the same form

Every read is checked against the end of the message that it stands in, so a damaged file ends in a LlamaError
that names the byte, after time in proportion to the file's size.

Source: https://protobuf.dev/programming-guides/encoding
"""

import struct
from collections.abc import Iterator

from numpy_llama.errors import LlamaError

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5


class Reader:
    """Fields out of bytes. `source` is what messages call them."""

    def __init__(self, data: bytes, source: str):
        self.data = data
        self.source = source

    def error(self, what: str, position: int, expected: object = None, found: object = None) -> LlamaError:
        """An error that names the byte."""
        return LlamaError(what, where=f"{self.source}: byte {position}", expected=expected, found=found)

    def fields(self, position: int, end: int, wanted: dict[int, int]) -> Iterator[tuple[int, int, int]]:
        """(number, start, end of the value) of each wanted field between two positions.

        wanted  {field number: wire type}; other fields are skipped
        raises  LlamaError where the bytes are no fields, or a wanted one has another wire type
        """
        while position < end:
            begin = position
            key, position = self._varint(begin, end)
            number, wire = key >> 3, key & 7
            if not 0 < number < 1 << 29:
                raise self.error("not a protobuf field", begin, found=f"field number {number}")
            if wire == BYTES:
                length, position = self._varint(position, end)
                stop = position + length
            elif wire == VARINT:
                _, stop = self._varint(position, end)
            elif wire == FOUR_BYTES:
                stop = position + 4
            elif wire == EIGHT_BYTES:
                stop = position + 8
            else:
                raise self.error("not a protobuf field", begin, "wire type 0, 1, 2 or 5", wire)
            if stop > end:
                needed, left = f"{stop - position} bytes", f"{end - position} left"
                raise self.error("a field reaches past the end: cut short?", begin, needed, left)
            if number in wanted:
                if wanted[number] != wire:
                    raise self.error(f"field {number} has the wrong wire type", begin, wanted[number], wire)
                yield number, position, stop
            position = stop

    def unsigned(self, start: int, end: int) -> int:
        """A varint as a number from 0."""
        return self._varint(start, end)[0]

    def signed(self, start: int, end: int) -> int:
        """A varint as a number that may be negative: −1 is written as 2⁶⁴ − 1."""
        value = self.unsigned(start, end)
        return value - (1 << 64) if value >> 63 else value

    def float(self, start: int) -> float:
        """Four bytes as a number."""
        (value,) = struct.unpack_from("<f", self.data, start)
        return float(value)

    def text(self, start: int, end: int) -> str:
        """Bytes as text."""
        try:
            return self.data[start:end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error(f"a string isn't UTF-8 ({error.reason})", start + error.start) from None

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """A number, and where what follows it starts."""
        if position < end and self.data[position] < 0x80:  # nearly all of them
            return self.data[position], position + 1
        value = shift = 0
        for place in range(position, min(end, position + 10)):  # 64 bits fill ten bytes at most
            byte = self.data[place]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, place + 1
            shift += 7
        left = f"{end - position} left"
        raise self.error("a number doesn't end: cut short?", position, "at most 10 bytes", left)


def number_field(number: int, value: int) -> bytes:
    """A field of wire type 0."""
    return _varint_bytes(number << 3 | VARINT) + _varint_bytes(value)


def float_field(number: int, value: float) -> bytes:
    """A field of wire type 5."""
    return _varint_bytes(number << 3 | FOUR_BYTES) + struct.pack("<f", value)


def bytes_field(number: int, value: bytes) -> bytes:
    """A field of wire type 2."""
    return _varint_bytes(number << 3 | BYTES) + _varint_bytes(len(value)) + value


def _varint_bytes(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
