"""Checks of the exercises whose answers are functions.

The reference is a NumPy implementation of the book's equations.
"""

from __future__ import annotations

import math

import numpy as np

from gluon_nst.lab.check import Answer, Check, exercise, mxnet_array
from gluon_nst.network.layers import BLOCKS


@exercise(4)
def exercise_4(check: Check, total_loss: Answer, style_weight_for: Answer) -> None:
    """Exercise 4: the weighted sum of losses, and the style weight for a share of it."""
    contents_l, styles_l, tv_l = [2.0, 0.5, 1.5], [0.004, 0.03, 0.001], 0.25
    nothing = [0.0]
    alone = "With the other losses at 0, the total is"
    for content_weight, style_weight, tv_weight in ((3.0, 700.0, 20.0), (0.5, 1e4, 1.0)):
        content, style, tv = content_weight * 4.0, style_weight * 0.035, tv_weight * 0.25
        for what, losses, expected, hint in (
            (
                "the content losses",
                (contents_l, nothing, 0.0),
                content,
                f"{alone} %s: it is their sum times content_weight",
            ),
            ("the style losses", (nothing, styles_l, 0.0), style, f"{alone} %s: it is their sum times style_weight"),
            ("the total variation loss", (nothing, nothing, tv_l), tv, f"{alone} %s: it is the loss times tv_weight"),
            (
                "all three",
                (contents_l, styles_l, tv_l),
                content + style + tv,
                "The total is %s: it is the sum of the three",
            ),
        ):
            value = check.call(total_loss, "total_loss", *losses, content_weight, style_weight, tv_weight)
            loss = check.number(value, "total_loss")
            size = "too small" if loss < expected else "too large"
            check.require(math.isclose(loss, expected, rel_tol=1e-6), f"{what}, weighted", hint % size)
    check.passed("the weighted sum of all losses")
    for share, content, style, tv in ((0.5, 6.0, 0.02, 4.0), (0.9, 1.0, 0.5, 0.0), (0.2, 3.0, 0.01, 2.0)):
        value = check.call(style_weight_for, "style_weight_for", share, content, style, tv)
        weight = check.number(value, "style_weight_for")
        what = f"a share of {share:.0%} of the total"
        check.require(weight > 0, what, "The weight that style_weight_for returns is not above 0")
        actual = weight * style / (weight * style + content + tv)
        hint = f"With the weight that style_weight_for returns, the style loss is {actual:.0%} of the total"
        check.expect(math.isclose(actual, share, rel_tol=1e-6), what, hint)


@exercise(5)
def exercise_5(check: Check, receptive_field: Answer) -> None:
    """Exercise 5: the receptive field of a layer, in pixels."""
    field, spacing = 1, 1  # the receptive field, and the distance of two positions, in pixels
    hints = {
        1: "a 3 × 3 convolution adds one position on each side",
        2: "a 2 × 2 pooling adds one position, and doubles the distance of neighbouring positions in pixels",
        3: "a convolution adds one position on each side, and each pooling has doubled the distance of positions",
    }
    for block, (convolutions, _) in enumerate(BLOCKS, start=1):
        for number in range(1, convolutions + 1):
            field += 2 * spacing
            name = f"conv{block}_{number}"
            value = check.number(check.call(receptive_field, "receptive_field", name), f"receptive_field({name!r})")
            size = "too small" if value < field else "too large"
            check.require(
                value == field, f"the receptive field of {name}", f"{value:g} pixels are {size}: {hints[min(block, 3)]}"
            )
        check.passed(f"the receptive fields of block {block}")
        field, spacing = field + spacing, 2 * spacing


@exercise(6)
def exercise_6(check: Check, my_gram: Answer) -> None:
    """Exercise 6: the Gram matrix."""
    name = "my_gram"
    values = np.random.default_rng(6).normal(0.5, 1, (1, 4, 3, 5)).astype(np.float32)
    rows = values[0].reshape(4, -1).astype(np.float64)
    expected = np.einsum("ip,jp->ij", rows, rows) / values.size
    actual = check.array(check.call(my_gram, name, mxnet_array(values)), name, (4, 4))
    check.expect(np.allclose(actual, actual.T), "it is symmetric", "G[i, j] and G[j, i] are the same sum")
    ratios = (actual / expected)[np.abs(expected) > 1e-3]
    if actual.any() and np.allclose(ratios, ratios[0], rtol=1e-3) and not np.isclose(ratios[0], 1, rtol=1e-3):
        check.passed("it is the Gram matrix up to a factor")
        hint = f"Each entry is {ratios[0]:.4g} times the right value, for c, h, w = 4, 3, 5: check the divisor"
        check.fail("the factor", hint)
    check.expect(
        np.allclose(actual, expected, rtol=1e-4, atol=1e-6),
        "the sums over the positions",
        "The values differ: reshape X to one row for each channel, with its h·w positions, unchanged",
    )
    larger = np.random.default_rng(7).normal(0, 1, (1, 3, 8, 2)).astype(np.float32)
    rows = larger[0].reshape(3, -1).astype(np.float64)
    actual = check.array(check.call(my_gram, name, mxnet_array(larger)), name, (3, 3))
    check.expect(
        np.allclose(actual, rows @ rows.T / larger.size, rtol=1e-4, atol=1e-6),
        "for a different shape",
        "Take c, h and w from X.shape",
    )


@exercise(7)
def exercise_7(check: Check, my_tv: Answer) -> None:
    """Exercise 7: the total variation loss."""
    name = "my_tv"

    def value_of(values: np.ndarray) -> float:
        return check.number(check.call(my_tv, name, mxnet_array(values.astype(np.float32))), name)

    down = np.broadcast_to(np.arange(4.0).reshape(4, 1), (1, 3, 4, 6))
    across = np.broadcast_to(2 * np.arange(6.0), (1, 3, 4, 6))
    hint = "the mean of |Δ| over all pairs of neighbours, not the sum and not the squares, and half of it"
    for values, expected, what in (
        (np.full((1, 3, 4, 6), 7.0), 0.0, "a picture of one colour has none"),
        (down, 0.5, "vertical steps count"),
        (across, 1.0, "horizontal steps count"),
        (-across, 1.0, "steps from bright to dark count like those from dark to bright"),
    ):
        value = value_of(values)
        size = "too small" if value < expected else "too large"
        check.expect(math.isclose(value, expected, rel_tol=1e-5, abs_tol=1e-6), what, f"{value:.4g} is {size}: {hint}")
    noise = np.random.default_rng(7).normal(0, 1, (1, 3, 7, 5))
    expected = (np.abs(np.diff(noise, axis=2)).mean() + np.abs(np.diff(noise, axis=3)).mean()) / 2
    check.expect(
        math.isclose(value_of(noise), expected, rel_tol=1e-4),
        "both directions, on noise",
        "Take a separate mean for each direction: the numbers of pairs differ",
    )
