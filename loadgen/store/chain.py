"""Every line is hashed with the one before it, the first with `run.json`: a record that was changed
by hand does not go unnoticed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

SHORT_DIGITS = 12


def start(header: Mapping[str, Any]) -> str:
    """The hash before the first record: that of the header, so that plan and seed are held too."""
    return hashlib.sha256(_canonical(header)).hexdigest()


def link(record: Mapping[str, Any], previous: str) -> str:
    """SHA-256 (hex) of the previous line's hash and the record's canonical JSON without its own."""
    unsigned = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(previous.encode() + _canonical(unsigned)).hexdigest()


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def last(header: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    """The hash that stands for a whole run: that of its last record, derived from the first on.

    It is derived and not read, so that nothing in the run can have been changed without it.
    """
    hashed = start(header)
    for record in records:
        hashed = link(record, hashed)
    return hashed


def short(hashed: str) -> str:
    """As it is quoted: 48 bits, which nobody meets by chance."""
    return hashed[:SHORT_DIGITS]
