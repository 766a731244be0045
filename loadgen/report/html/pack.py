"""What the page carries for its scripts: JSON that cannot end a script element, and packed text."""

import base64
import gzip
import json
from typing import Any

from markupsafe import Markup

# What HTML or a line of script could be ended by (HTML, 4.12.1.3), written as JSON may write it.
_ESCAPES = {
    ord("<"): "\\u003c",
    ord(">"): "\\u003e",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


def as_json(value: Any) -> Markup:
    """For a script element whose type is application/json."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_ESCAPES))


def packed(text: str) -> str:
    """A long text at a third of its size; the same text always gives the same."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode("ascii")
