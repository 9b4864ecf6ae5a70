"""Remove from an environment what no running service reads: debug information, C and Cython.

    python trim.py FOLDER

Some wheels ship libraries that are nine parts debug information. Only the segments of a library are
mapped when it is loaded, so it may end with the last of them: the rest is for debuggers.

Source: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html and ch5.pheader.html
"""

import struct
import sys
from pathlib import Path

ELF_64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
SOURCES = {".c", ".pyx", ".pxd", ".pxi"}


def strip(library: Path) -> None:
    """Cut off what follows the segments of a library, if debug information is among it.

    Args:
        library: The file; anything but a 64-bit little-endian ELF file is left as it is.
    """
    data = bytearray(library.read_bytes())
    if not data.startswith(ELF_64_LITTLE_ENDIAN):
        return
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    ends = [table + size * count]
    for entry in range(table, table + size * count, size):
        offset, _, _, length = struct.unpack_from("<QQQQ", data, entry + 8)
        ends.append(offset + length)
    if data.find(b".debug_info\0", max(ends)) != -1:
        struct.pack_into("<Q", data, 40, 0)  # no section headers,
        struct.pack_into("<HH", data, 60, 0, 0)  # so none of them, nor one with their names
        library.write_bytes(data[: max(ends)])


if __name__ == "__main__":
    for path in Path(sys.argv[1]).rglob("*"):
        if path.suffix in SOURCES:
            path.unlink()
        elif ".so" in path.suffixes and path.is_file() and not path.is_symlink():
            strip(path)
