"""A file of torch.save, read without torch: a zip archive of storages, and a pickle that says what to see in them.

    archive/data.pkl      names, shapes, dtypes: see torch_pickle.py
    archive/byteorder     "little"
    archive/data/0        numbers of one storage, as they lie in memory, not compressed
    archive/data/1        …

Since nothing is compressed, numbers are mapped where they lie. The archive's own table says where each file begins;
that no two lie in the same place, and none leaves the archive, is checked before anything is read.

source  torch.serialization; the zip format's APPNOTE
"""

import io
import mmap
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from numpy_llama.checkpoints.reader import StoredTensor
from numpy_llama.checkpoints.safetensors_file import STORED_DTYPES
from numpy_llama.checkpoints.torch_pickle import PICKLE_LIMIT, TensorRecord, read_torch_pickle
from numpy_llama.errors import LlamaError

DIRECTORY_LIMIT = 8 * 1024 * 1024  # bytes of the archive's table of files; a large model's has a tenth of a megabyte
LOCAL_HEADER = 30  # bytes before the name of a file
BEFORE_ZIP = (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", b"\x80\x02}")  # how files of torch before 1.6 begin
ENCRYPTED = 0x1
# What zipfile raises for archives that are none, or damaged ones.
UNREADABLE = (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError, OverflowError, IndexError, struct.error)


@dataclass(frozen=True)
class _Member:
    """A file in the archive: where its bytes lie."""

    start: int
    size: int
    checksum: int


class TorchFile:
    """An opened file.

    table   every tensor in it by name
    raises  LlamaError where the file is missing or damaged, compressed, of an older format, or asks for anything but
            tensors
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise LlamaError("no such file", where=path)
        self._members = _members(path)
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise LlamaError(f"can't be read ({error})", where=path) from None
        programs = [name for name in self._members if name.endswith("/data.pkl")]
        if len(programs) != 1:
            expected = "one folder with a data.pkl in it, as torch.save writes"
            raise LlamaError("no archive of torch", where=path, expected=expected, found=f"{len(programs)} of them")
        self._folder = programs[0].removesuffix("data.pkl")
        order = self._small("byteorder", b"little", limit=16)
        if order != b"little":
            where = f"{path}: {self._folder}byteorder"
            raise LlamaError("numbers the other way round", where=where, expected="little", found=repr(order))
        program = self._small("data.pkl", b"", limit=PICKLE_LIMIT)
        self._records = read_torch_pickle(program, f"{path}: {programs[0]}")
        for name, record in self._records.items():
            self._check_storage(name, record)
        self.table = {
            name: StoredTensor(name, record.shape, record.storage.dtype) for name, record in self._records.items()
        }

    def read(self, name: str) -> np.ndarray:
        """One tensor, as a view of the mapped file that can't be written to."""
        record = self._records[name]
        dtype = STORED_DTYPES[record.storage.dtype]
        start = self._members[self._file_of(record)].start
        flat = np.frombuffer(self._bytes, dtype, record.storage.count, start)
        strides = [stride * dtype.itemsize for stride in record.strides]
        return np.lib.stride_tricks.as_strided(flat[record.offset :], record.shape, strides, writeable=False)

    def _small(self, name: str, default: bytes, limit: int) -> bytes:
        """The bytes of a small file in the archive's folder."""
        member = self._members.get(self._folder + name)
        if member is None:
            return default
        where = f"{self.path}: {self._folder}{name}"
        if member.size > limit:
            raise LlamaError("too large", where=where, expected=f"at most {limit} bytes", found=member.size)
        content = self._bytes[member.start : member.start + member.size]
        if zlib.crc32(content) != member.checksum:
            raise LlamaError("damaged: its checksum is another one", where=where)
        return content

    def _file_of(self, record: TensorRecord) -> str:
        return f"{self._folder}data/{record.storage.key}"

    def _check_storage(self, name: str, record: TensorRecord) -> None:
        """raises  LlamaError where a tensor's storage isn't in the archive, or has another size than it should"""
        file = self._file_of(record)
        where = f"{self.path}: {name[:200]}"
        if file not in self._members:
            raise LlamaError("its storage isn't in the archive", where=where, expected=file[:200])
        size = record.storage.count * STORED_DTYPES[record.storage.dtype].itemsize
        if self._members[file].size != size:
            found = f"{self._members[file].size} bytes in {file}"
            raise LlamaError("its storage has another size", where=where, expected=f"{size} bytes", found=found)


class _Bounded(io.FileIO):
    """A file of which nobody reads more than the limit at once: an archive's table can claim to be of any size."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > DIRECTORY_LIMIT:
            raise zipfile.BadZipFile(f"a table of {size} bytes")
        return super().read(size) or b""


def _members(path: Path) -> dict[str, _Member]:
    """{name: where it lies} of every file in an archive.

    raises  LlamaError where it is no archive, or a file in it is compressed, encrypted, listed twice, outside the
            archive or in the place of another
    """
    try:
        with _Bounded(path) as file:
            beginning = file.read(16)
            if beginning.startswith(BEFORE_ZIP):
                expected = "a zip archive, which torch.save has written since torch 1.6"
                found = "a bare pickle, of before torch 1.6"
                raise LlamaError("an older format that isn't read", where=path, expected=expected, found=found)
            with zipfile.ZipFile(file) as archive:
                end = archive.start_dir
                infos = archive.infolist()
                members = {info.filename: _member(info, file, end, path) for info in infos}
    except LlamaError:
        raise
    except UNREADABLE as error:
        raise LlamaError(f"not a readable archive of torch ({error})", where=path) from None
    if len(members) < len(infos):
        raise LlamaError("two files of one name in the archive", where=path)
    reached, before = 0, ""
    for name, member in sorted(members.items(), key=lambda item: (item[1].start, item[1].size)):
        if member.start < reached:
            raise LlamaError("two files in one place", where=f"{path}: {before[:200]}, {name[:200]}")
        reached, before = member.start + member.size, name
    return members


def _member(info: zipfile.ZipInfo, file: io.FileIO, end: int, path: Path) -> _Member:
    where = f"{path}: {info.filename[:200]}"
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise LlamaError("compressed", where=where, expected="numbers as they lie in memory, as torch.save writes them")
    if info.flag_bits & ENCRYPTED:
        raise LlamaError("encrypted", where=where)
    if not 0 <= info.header_offset <= end - LOCAL_HEADER:
        raise LlamaError("outside the archive", where=where)
    file.seek(info.header_offset)
    header = file.read(LOCAL_HEADER)
    if len(header) < LOCAL_HEADER or header[:4] != b"PK\3\4":
        raise LlamaError("damaged: no file begins where the archive says", where=where)
    # The name and a padding of torch's, of which this header has lengths of its own, come before the bytes.
    name, padding = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
    start = info.header_offset + LOCAL_HEADER + name + padding
    if start + info.file_size > end:
        expected = f"an end before byte {end}"
        raise LlamaError("leaves the archive", where=where, expected=expected, found=start + info.file_size)
    return _Member(start, info.file_size, info.CRC)
