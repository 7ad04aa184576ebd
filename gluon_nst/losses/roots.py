"""The trace of the square root of a product of covariances, and its gradient.

Both are computed without eigenvalues. For symmetric positive definite Σ and M = R Σ Rᵀ, the trace of M^½ is the nuclear
norm of C = R B, where Σ = B Bᵀ is the Cholesky factorisation: with the polar decomposition C = M^½ U it is tr(Uᵀ C),
and its gradient with respect to Σ is ½ Rᵀ M^-½ R = ½ Rᵀ U B⁻¹. The condition number of C is only the square root of
M's, so that single precision is enough.

The polar factor U is computed by QDWH, the dynamically weighted Halley iteration (Nakatsukasa, Bai and Gygi 2010,
"Optimizing Halley's iteration for computing the matrix polar decomposition"), in its variant with Cholesky
factorisations (Nakatsukasa and Higham 2013, "Stable and efficient spectral divide and conquer algorithms"). It starts
from C / ‖C‖ + δ C⁻ᵀ, a step of Newton's iteration, which has the same polar factor and again the square root of the
condition number. It ends with a step of the Newton-Schulz iteration of third order, X (15 - 10 XᵀX + 3 (XᵀX)²) / 8. All
operations are matrix products, Cholesky factorisations and triangular systems, and together take half the time of an
eigenvalue decomposition in double precision or less.
"""

from __future__ import annotations

import math
from typing import Any

import mxnet as mx
import numpy as np
from scipy.linalg import lapack

from gluon_nst.losses.reductions import summed_product
from gluon_nst.network.operators import operators, shape_of
from gluon_nst.typing import Array

SMALLEST = 5e-5
"""The smallest singular value at the start, relative to the largest, that the iteration takes to 1 (within 4e-7). In
`fine` they are 3e-4 or larger; they shrink in proportion to the scale of the features. The polar factor's smaller
ones end below 1: where that happens, the gradient is too small in those directions, and the trace is hardly
affected."""

CAPPED = 1.5e-3
"""The weights of a step are optimal for singular values from max(CAPPED, smallest) to 1. Those for smaller ones would
lose accuracy: the rounding error of a step grows with the condition number of I + c G, which this keeps below
10,000."""

STEPS = 3


def _halley(smallest: float) -> tuple[float, float, float]:
    """Return the weights a, b, c of a Halley step, x (a + b x²) / (1 + c x²).

    The step takes [smallest, 1] as close to 1 as possible.
    """
    square = smallest**2
    d = (4 * (1 - square) / square**2) ** (1 / 3)
    a = math.sqrt(1 + d) + 0.5 * math.sqrt(8 - 4 * d + 8 * (2 - square) / (square * math.sqrt(1 + d)))
    b = (a - 1) ** 2 / 4
    return a, b, a + b - 1


def _weights(smallest: float = SMALLEST) -> list[tuple[float, float, float]]:
    """Return the weights of each step for singular values from `smallest` to 1."""
    weights = []
    for _ in range(STEPS):
        a, b, c = _halley(max(smallest, CAPPED))
        weights.append((a, b, c))
        smallest *= (a + b * smallest**2) / (1 + c * smallest**2)
    return weights


def cholesky(S: np.ndarray, epsilon: float) -> np.ndarray:
    """Return the lower Cholesky factor of S + shift · I in double precision.

    `S` is any symmetric matrix. The shift is `epsilon`. If S has negative eigenvalues, by rounding, the shift is
    doubled until the squared pivots are at least epsilon / 2. The result is NaN if `S` has values that are not finite,
    or so large that their squares overflow in single precision.
    """
    S, shift = S.astype("float64"), epsilon
    if not np.abs(S).max() < 1e18:  # also for NaN
        return np.full_like(S, np.nan)
    diagonal = S.diagonal().copy()
    while True:
        np.fill_diagonal(S, diagonal + shift)
        # In LAPACK's order of memory S is its own transpose, and so its upper factor is our lower one.
        factor, failed = lapack.dpotrf(S.T, lower=0, clean=1)
        if not failed and np.square(factor.diagonal()).min() >= epsilon / 2:
            return factor.T
        shift *= 2


class _Cholesky(mx.operator.CustomOp):
    """`cholesky` as an MXNet operator.

    MXNet's `linalg.potrf` raises if a matrix is not positive definite.
    """

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self._epsilon = epsilon

    def forward(self, is_train: bool, req: list[str], in_data: list[Any], out_data: list[Any], aux: list[Any]) -> None:
        self.assign(out_data[0], req[0], cholesky(in_data[0].asnumpy(), self._epsilon).astype("float32"))

    def backward(
        self,
        req: list[str],
        out_grad: list[Any],
        in_data: list[Any],
        out_data: list[Any],
        in_grad: list[Any],
        aux: list[Any],
    ) -> None:
        """No gradient: `root_trace` has its own."""
        self.assign(in_grad[0], req[0], 0)


@mx.operator.register("gluon_nst_cholesky")
class _CholeskyProp(mx.operator.CustomOpProp):
    def __init__(self, epsilon: str) -> None:
        super().__init__(need_top_grad=False)
        self._epsilon = float(epsilon)

    def create_operator(self, ctx: Any, shapes: Any, dtypes: Any) -> _Cholesky:
        return _Cholesky(self._epsilon)


def product(A: Array, B: Array) -> Array:
    """Return A · Bᵀ of two square matrices, by oneDNN.

    It is faster than MXNet's own product.
    """
    return operators(A).FullyConnected(A, B, no_bias=True, num_hidden=shape_of(A)[0])


def root_trace(S: Array, R: Array, inverse: Array, epsilon: float) -> tuple[Array, Array]:
    """Return the trace of (R Σ Rᵀ)^½ and its gradient with respect to Σ.

    Σ is S + epsilon · I.

    - `S` is a covariance, c × c; rounding may have made it indefinite.
    - `R` is a square matrix with singular values of at least √epsilon, and `inverse` its inverse.

    The two arrays have the shapes (1,) and c × c. Rounding makes the second slightly asymmetric; its symmetric part is
    the gradient.
    """
    F, num_channels = operators(S), shape_of(S)[0]

    def scaled(X: Array, by: Array) -> Array:
        # The factor as a row: five times as fast as an array of shape (1, 1).
        return F.broadcast_mul(X, F.broadcast_to(by.reshape((1, 1)), shape=(1, num_channels)))

    B = F.Custom(S, op_type="gluon_nst_cholesky", epsilon=epsilon)
    C = product(R, B.transpose())
    # No singular value of C is below epsilon. If many are nearly as small, a fraction of it gives a better condition
    # number.
    delta = epsilon / 8
    norm = summed_product(C, C).sqrt()
    X = scaled(C, 1 / norm) + F.linalg.trsm(B, inverse, alpha=delta).transpose()
    ones = F.ones_like(F.linalg.extractdiag(B))
    one = F.linalg.makediag(ones)
    G = product(X, X)
    # The square root of G's Frobenius norm: at least the largest singular value of X, and closer than X's Frobenius
    # norm.
    scale = summed_product(G, G) ** -0.25
    X, G = scaled(X, scale), scaled(G, scale * scale)
    for step, (a, b, c) in enumerate(_weights()):
        if step:
            G = product(X, X)
        # X (a + b XᵀX) (I + c XᵀX)⁻¹ = b/c X + (a - b/c) / c · (G + I/c)⁻¹ X
        L = F.linalg.potrf(G + one * (1 / c))
        solved = F.linalg.trsm(L, F.linalg.trsm(L, X), transpose=True, alpha=(a - b / c) / c)
        X = X * (b / c) + solved
    G = product(X, X)
    U = product(one * (15 / 8) - G * (10 / 8) + product(G, G) * (3 / 8), X.transpose())
    gradient = F.linalg.trsm(B, product(R.transpose(), U.transpose()), rightside=True, alpha=0.5)
    # Row by row, because `summed_product` of so many positive numbers has ten times the rounding error.
    rows = F.FullyConnected(U * C, ones.reshape((1, num_channels)), no_bias=True, num_hidden=1)
    return rows.sum().reshape((1,)), gradient
