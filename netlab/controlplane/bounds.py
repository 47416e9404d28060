"""The limits of a request: Kubernetes' limits, applied where text becomes values.

    body             3 MiB, also of an object after a patch                      413
    nesting          100 levels, as in a topology file                           400
    whole numbers    64 bits, in bodies and in query parameters                  400
    JSON patch       10,000 operations; copies that add 3 MiB in all             413, 422

A check costs time linear in what it checks and never recurses, so no input can exhaust the stack
or the processor. Behind these checks every value can be encoded, compared, merged and copied
without an exception.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from netlab.api.numbers import LARGEST_64, SMALLEST_64
from netlab.controlplane.status import bad_request, too_large
from netlab.topology.document import DEEPEST

LARGEST_BODY: Final = 3 * 2**20
MOST_OPERATIONS: Final = 10_000
MOST_COPIED: Final = LARGEST_BODY
MOST_SHIFTED: Final = 100_000_000  # list elements that a JSON patch moves to other places
MOST_SECONDS: Final = 2**31 - 1  # of a grace period; Kubernetes has 64 bits, dates end sooner
LONGEST_WATCH: Final = 86_400  # seconds; a longer timeout ends then, and the client watches again
_LONGEST_NUMBER: Final = 20  # digits and sign of a 64-bit number
TOO_DEEP: Final = f"the body of the request is nested too deeply: more than {DEEPEST} levels"
_parse = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def whole_number(text: str) -> int | None:
    """Return a whole number of 64 bits in ASCII digits, None for any other text."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()) or len(text) > _LONGEST_NUMBER:
        return None
    number = int(text)
    return number if SMALLEST_64 <= number <= LARGEST_64 else None


def read_json(content: bytes) -> Any:
    """Return the value of a JSON text within the bounds; 400 for any other text."""
    if len(content) > LARGEST_BODY:
        raise too_large(LARGEST_BODY)
    try:
        value = _parse(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"the body of the request is not JSON: {error}") from error
    except RecursionError as error:
        raise bad_request(TOO_DEEP) from error
    check_value(value)
    return value


def check_value(value: Any) -> None:
    """Raise 400 unless a JSON value has at most DEEPEST levels and no number of more than 64 bits."""
    level, depth = [value], 0
    while level:
        for item in level:
            if isinstance(item, int) and not SMALLEST_64 <= item <= LARGEST_64:
                raise bad_request(f"the body of the request contains a number of {item.bit_length()} bits; the maximum is 64")
        containers = [item for item in level if isinstance(item, dict | list)]
        depth += bool(containers)
        if depth > DEEPEST:
            raise bad_request(TOO_DEEP)
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]


def own_copy(value: Any) -> Any:
    """Return a copy of a JSON object within the bounds, 400 and 413 for one that is not."""
    check_value(value)
    content = _encode(value)
    if len(content) > LARGEST_BODY:
        raise too_large(LARGEST_BODY)
    return _parse(content)
