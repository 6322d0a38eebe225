"""OpenJPEG, and the messages that it prints while it decodes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import imagecodecs
import numpy as np

from scp.encoding.pixels import Frame
from scp.errors import DamagedCodestream

# What it says of codestreams that hold all that they should: TNsot is too small in some (pydicom bundles
# one), and SOP may be missing where COD says that it may be used (A.8.1).
_HARMLESS = ("warning: Non conformant codestream TPsot==TNsot", "warning: Expected SOP marker")
_ERRORS_AND_WARNINGS = 2  # imagecodecs' verbose: 3 would be all that OpenJPEG says


class _Messages(logging.Filter):
    """imagecodecs 2026.3.6 gives OpenJPEG's messages to its logger, in the thread that decodes."""

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()

    @contextmanager
    def heard(self) -> Iterator[list[str]]:
        """The messages of this thread, while the context lasts."""
        messages: list[str] = []
        self._here.messages = messages
        try:
            yield messages
        finally:
            self._here.messages = None

    def filter(self, record: logging.LogRecord) -> bool:
        messages = getattr(self._here, "messages", None)
        if messages is None:
            return True
        message = record.getMessage().removeprefix("JPEG2K ")
        if not message.startswith(_HARMLESS):
            messages.append(message)
        return False


_LOGGER, _MESSAGES = logging.getLogger("imagecodecs"), _Messages()
_LOGGER.addFilter(_MESSAGES)
_LOGGER.setLevel(logging.WARNING)  # whatever else is set: what it does not log is not heard


def decode_without_complaint(codestream: bytes) -> Frame:
    """A JPEG 2000 or HTJ2K codestream decoded by OpenJPEG.

    Raises DamagedCodestream with the first message, where it warns or fails.
    """
    with _MESSAGES.heard() as messages:
        try:
            samples = np.asarray(
                imagecodecs.jpeg2k_decode(codestream, numthreads=1, verbose=_ERRORS_AND_WARNINGS)
            )
        except imagecodecs.Jpeg2kError as error:
            raise DamagedCodestream(f"OpenJPEG: {messages[0] if messages else error}") from error
    if messages:
        raise DamagedCodestream(f"OpenJPEG: {messages[0]}")
    return samples
