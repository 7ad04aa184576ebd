"""The checks of the exercises whose answers are functions written by hand: what they give is compared with NumPy's, from the book's
equations."""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np

from gluon_nst.lab.check import Answer, Check, as_array
from gluon_nst.layers import BLOCKS


def exercise_4(total_loss: Answer, style_weight_for: Answer) -> None:
    """Weights by hand: the weighted sum, and the weight that gives the style a share of it."""
    check = Check(4)
    contents_l, styles_l, tv_l = [2.0, 0.5], [0.004, 0.03, 0.001], 0.25
    weights = {"content_weight": 3.0, "style_weight": 700.0, "tv_weight": 20.0}

    def total(contents_l: Sequence[float], styles_l: Sequence[float], tv_l: float, **changed: float) -> float:
        name = "total_loss"
        arguments = (contents_l, styles_l, tv_l, *{**weights, **changed}.values())
        return check.number(check.value(total_loss, name, *arguments), name)

    for name, others, expected, hint in (
        ("the content losses are added up and weighted", (contents_l, [0.0], 0.0), 7.5, "content_weight"),
        ("the style losses are added up and weighted", ([0.0], styles_l, 0.0), 24.5, "style_weight"),
        ("the total variation loss is weighted", ([0.0], [0.0], tv_l), 5.0, "tv_weight"),
        ("all three come together", (contents_l, styles_l, tv_l), 37.0, "all of them"),
    ):
        found = total(*others)
        size = "too small" if found < expected else "too large"
        check.expect(
            math.isclose(found, expected, rel_tol=1e-6),
            name,
            f"With the other losses at 0 it is {size}: a sum over the layers, each times {hint}",
        )
    for share, content, style, tv in ((0.5, 6.0, 0.02, 4.0), (0.9, 1.0, 0.5, 0.0), (0.2, 3.0, 0.01, 2.0)):
        name = "style_weight_for"
        weight = check.number(check.value(style_weight_for, name, share, content, style, tv), name)
        found = weight * style / (weight * style + content + tv)
        check.expect(
            math.isclose(found, share, rel_tol=1e-6),
            f"a share of {share:.0%} of the whole",
            f"With the weight that {name} gives, the style would make up {found:.0%} of the whole",
        )
    check.passed()


def exercise_5(receptive_field: Answer) -> None:
    """Layers by hand: how many pixels across a position of a layer sees."""
    check = Check(5)
    sees, apart = 1, 1
    hints = {
        1: "a convolution of 3 × 3 adds the position on either side",
        2: "a pooling of 2 × 2 adds the next position, and after it neighbours are twice as many pixels apart",
        3: "what a convolution adds grows with how far its positions are apart: two, then four, then eight pixels",
    }
    for block, (convolutions, _) in enumerate(BLOCKS, start=1):
        for number in range(1, convolutions + 1):
            sees += 2 * apart
            name = f"conv{block}_{number}"
            found = check.number(check.value(receptive_field, "receptive_field", name), f"receptive_field({name!r})")
            size = "too small" if found < sees else "too large"
            check.require(found == sees, f"what {name} sees", f"{found:g} pixels are {size}: {hints[min(block, 3)]}")
        check.expect(True, f"what the convolutions of block {block} see", "")
        sees, apart = sees + apart, 2 * apart
    check.passed()


def exercise_6(my_gram: Answer) -> None:
    """The Gram matrix by hand."""
    check, name = Check(6), "my_gram"
    values = np.random.default_rng(6).normal(0.5, 1, (1, 4, 3, 5)).astype(np.float32)
    rows = values[0].reshape(4, -1).astype(np.float64)
    expected = np.einsum("ip,jp->ij", rows, rows) / values.size
    found = check.array(check.value(my_gram, name, as_array(values)), name, (4, 4))
    check.expect(np.allclose(found, found.T), "it is symmetric", "G[i, j] and G[j, i] are the same sum")
    nonzero = np.abs(expected) > 1e-3
    ratios = (found / expected)[nonzero]
    if np.allclose(ratios, ratios[0], rtol=1e-3) and not np.isclose(ratios[0], 1, rtol=1e-3):
        check.expect(True, "it is the Gram matrix but for a factor", "")
        check.expect(
            False,
            "the factor",
            f"Each number is {ratios[0]:.4g} times what it should be, for c, h, w = 4, 3, 5: what is it divided by?",
        )
    check.expect(
        np.allclose(found, expected, rtol=1e-4, atol=1e-6),
        "the sums over the positions",
        "Other numbers: the matrix X has one row for each channel, with all of its h·w positions, as they are",
    )
    larger = np.random.default_rng(7).normal(0, 1, (1, 3, 8, 2)).astype(np.float32)
    rows = larger[0].reshape(3, -1).astype(np.float64)
    found = check.array(check.value(my_gram, name, as_array(larger)), name, (3, 3))
    check.expect(
        np.allclose(found, rows @ rows.T / larger.size, rtol=1e-4, atol=1e-6),
        "at another size too",
        "Are c, h and w taken from X's own shape?",
    )
    check.passed()


def exercise_7(my_tv: Answer) -> None:
    """The total variation loss by hand."""
    check, name = Check(7), "my_tv"

    def found(values: np.ndarray) -> float:
        return check.number(check.value(my_tv, name, as_array(values.astype(np.float32))), name)

    down = np.broadcast_to(np.arange(4.0).reshape(4, 1), (1, 3, 4, 6))
    across = np.broadcast_to(2 * np.arange(6.0), (1, 3, 4, 6))
    hint = "the mean of |Δ| over all pairs of neighbours, not their sum and not their squares, and half of that"
    for values, expected, what in (
        (np.full((1, 3, 4, 6), 7.0), 0.0, "a picture of one colour has none"),
        (down, 0.5, "steps downwards count"),
        (across, 1.0, "steps across count"),
        (-across, 1.0, "steps down from bright to dark count as those up"),
    ):
        value = found(values)
        size = "too small" if value < expected else "too large"
        check.expect(math.isclose(value, expected, rel_tol=1e-5, abs_tol=1e-6), what, f"{value:.4g} is {size}: {hint}")
    noise = np.random.default_rng(7).normal(0, 1, (1, 3, 7, 5))
    expected = (np.abs(np.diff(noise, axis=2)).mean() + np.abs(np.diff(noise, axis=3)).mean()) / 2
    check.expect(
        math.isclose(found(noise), expected, rel_tol=1e-4),
        "both together, on noise",
        "Each direction has a mean of its own: there are not as many pairs across as down",
    )
    check.passed()
