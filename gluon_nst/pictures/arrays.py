"""Pictures as arrays of NumPy, MXNet and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from gluon_nst.errors import InputError

_WANTED = "give height × width × 3, or × 4 with alpha, as uint8 or as floats from 0 to 1"


def image_of(array: Any, name: str) -> Image.Image:
    """Return the PIL image of an array.

    The array is h × w × 3, h × w × 4 with alpha, or h × w for a grey picture or a mask. Its values are uint8, floats
    from 0 to 1, or Booleans; h × w may also be uint16, the class numbers of a region map. The array is copied. Raises
    InputError for other arrays; `name` is the argument's name in the message.
    """
    values = np.asarray(array.asnumpy() if hasattr(array, "asnumpy") else array)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    kind = f"{name}: an array of {values.dtype} of shape {' × '.join(map(str, values.shape)) or 'no dimension'}"
    if not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))):
        raise InputError(f"{kind} is not a picture; {_WANTED}")
    if values.dtype == np.uint16 and values.ndim == 2:
        return Image.fromarray(values.copy())
    if values.dtype == bool:
        values = values.astype(np.float32)
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all():
            raise InputError(f"{kind} has values that are not finite; {_WANTED}")
        low, high = (float(limit) for limit in (values.min(initial=0), values.max(initial=0)))
        if low < 0 or high > 1:
            raise InputError(f"{kind} has values from {low:.4g} to {high:.4g}; {_WANTED}")
        values = np.rint(values * 255).astype(np.uint8)
    if values.dtype != np.uint8:
        raise InputError(f"{kind} has an unsupported type; {_WANTED}")
    return Image.fromarray(np.ascontiguousarray(values).copy())
