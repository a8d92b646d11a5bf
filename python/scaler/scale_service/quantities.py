"""Amounts of CPU, memory and GPUs as Kubernetes writes them.

The grammar is that of Kubernetes' `resource.Quantity`, without exponents and signs, which nobody needs here.
"""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_UNITS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTP", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTP", 1)},
}

# What people call a resource, and what Kubernetes does.
KUBERNETES_NAMES = {"cpu": "cpu", "memory": "memory", "gpu": "nvidia.com/gpu"}
_EXPECTED = {
    "cpu": 'cores, such as "500m" or "8"',
    "memory": 'bytes, such as "512Mi" or "32Gi"',
    "gpu": 'a whole number of GPUs, such as "1"',
}


def amount(text: str) -> Decimal:
    """What a quantity is worth, in cores, bytes or GPUs.

    Raises:
        ValueError: it is none.
    """
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no quantity")
    return Decimal(found[1]) * _UNITS[found[2] or ""]


def checked(resource: str, value: object) -> str:
    """A quantity of a resource as Kubernetes takes it.

    Args:
        resource: cpu, memory or gpu.
        value: a text, or a number, as JSON has it.

    Raises:
        ValueError: it is no quantity of that; the text says what was expected.
    """
    text = str(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else ""
    try:
        worth = amount(text)
    except ValueError:
        worth = None
    # A memory in thousandths of a byte is a typing error of `M`.
    wrong_unit = (resource == "memory" and text.endswith("m")) or (resource == "gpu" and not text.isdecimal())
    if worth is None or wrong_unit:
        shown = repr(value)
        raise ValueError(
            f"{resource} is {shown if len(shown) <= 40 else shown[:40] + '…'}; expected {_EXPECTED[resource]}"
        )
    return text
