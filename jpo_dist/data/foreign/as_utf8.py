"""Bytes of a text in another encoding, as UTF-8, a part at a time."""

import codecs
import io
from typing import Any, BinaryIO, cast


def as_utf8(stream: BinaryIO, coding: str, at_once: int) -> BinaryIO:
    """The same text as UTF-8; `at_once`: bytes that are read together. Reading raises UnicodeDecodeError."""
    return cast(BinaryIO, io.BufferedReader(_AsUtf8(stream, coding, at_once)))


class _AsUtf8(io.RawIOBase):
    def __init__(self, stream: BinaryIO, coding: str, at_once: int) -> None:
        self._stream, self._at_once = stream, at_once
        self._decoder, self._rest = codecs.getincrementaldecoder(coding)(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self._rest:
            raw = self._stream.read(self._at_once)
            self._rest = self._decoder.decode(raw, final=not raw).encode("utf-8")
            if not raw:
                break
        part, self._rest = self._rest[: len(into)], self._rest[len(into) :]
        into[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self._stream.close()
        super().close()
