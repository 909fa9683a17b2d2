"""Names as they can be printed, stored and told, whatever a file system or a stranger has put into them."""

from __future__ import annotations

import re


def shown(text: str) -> str:
    """Text as it can be printed and stored: bytes that are no UTF-8 as ``\\xe9``, no half signs."""
    text = re.sub("[\ud800-\udc7f\udd00-\udfff]", "\ufffd", text)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """:func:`shown` without control characters, so that a file's name can't play with the terminal."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in shown(text))
