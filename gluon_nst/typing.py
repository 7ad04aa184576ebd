"""Types of arrays: Any, because MXNet has no annotations.

Shapes are in docstrings: 1 × c × h × w for pictures (c = 3) and feature maps, c × c for Gram matrices and covariances.
"""

from __future__ import annotations

from typing import Any

NDArray = Any
"""An MXNet NDArray."""
Symbol = Any
"""An MXNet Symbol."""
Array = Any
"""An NDArray, or a Symbol whose variables have shapes: the functions of losses and layers take both."""
