"""The checks of functions that students write: right answers, plausible wrong answers, and missing answers."""

import subprocess
import sys

from gluon_nst.lab import checks

import numpy as np
import pytest
from mxnet import nd

# -- right answers ----------------------------------------------------------------------------------------------------


def total_loss(contents_l, styles_l, tv_l, content_weight, style_weight, tv_weight):
    return content_weight * sum(contents_l) + style_weight * sum(styles_l) + tv_weight * tv_l


def style_weight_for(share, content_l, style_l, tv_l):
    return share * (content_l + tv_l) / ((1 - share) * style_l)


def receptive_field(name, pooling=True, step=None, grows=2):
    sees, apart = 1, 1
    for block, convolutions in enumerate((2, 2, 4, 4, 4), start=1):
        for number in range(1, convolutions + 1):
            sees += step or 2 * apart
            if name == f"conv{block}_{number}":
                return sees
        sees, apart = sees + apart * pooling, grows * apart


def my_gram(X):
    rows = X.asnumpy().reshape(X.shape[1], -1)
    return rows @ rows.T / X.size


def my_tv(X):
    X = X.asnumpy()
    return 0.5 * (np.abs(X[:, :, 1:] - X[:, :, :-1]).mean() + np.abs(X[:, :, :, 1:] - X[:, :, :, :-1]).mean())


def test_right_answers_pass_and_each_requirement_is_listed(capsys):
    for check, answers, requirement in (
        (checks.exercise_4, (total_loss, style_weight_for), "a share of 90% of the total"),
        (checks.exercise_5, (receptive_field,), "the receptive fields of block 5"),
        (checks.exercise_6, (my_gram,), "for a different shape"),
        (checks.exercise_7, (my_tv,), "both directions, on noise"),
    ):
        assert check(*answers) is None  # nbgrader would take a value for points
        printed = capsys.readouterr().out
        assert "is right.\n" in printed
        assert f"  right:   {requirement}\n" in printed


def test_right_answers_may_return_mxnet_arrays():
    checks.exercise_6(lambda X: nd.linalg.syrk(X.reshape((X.shape[1], -1))) / X.size)
    checks.exercise_7(
        lambda X: 0.5 * ((X[:, :, 1:] - X[:, :, :-1]).abs().mean() + (X[:, :, :, 1:] - X[:, :, :, :-1]).abs().mean())
    )


def test_the_checks_work_in_np_mode(np_mode):
    from mxnet import np as mxnet_np

    checks.exercise_6(lambda X: mxnet_np.dot(X.reshape(X.shape[1], -1), X.reshape(X.shape[1], -1).T) / X.size)
    checks.exercise_7(my_tv)


# -- wrong answers ----------------------------------------------------------------------------------------------------


def tv(X, of=np.abs, mean=np.mean, half=0.5, down=True):
    X = X.asnumpy()
    differences = [X[:, :, :, 1:] - X[:, :, :, :-1]] + [X[:, :, 1:] - X[:, :, :-1]] * down
    return half * sum(mean(of(difference)) for difference in differences)


def around_the_edge(X):
    X = X.asnumpy()
    return 0.5 * sum(np.abs(X - np.roll(X, 1, axis)).mean() for axis in (2, 3))


def gram_of(X, rows, divisor):
    return rows @ rows.T / divisor


WRONG = {
    "4: without the total variation": (
        lambda: checks.exercise_4(lambda c, s, t, cw, sw, tw: cw * sum(c) + sw * sum(s), style_weight_for),
        "the total variation loss, weighted.*too small: it is the loss times tv_weight",
    ),
    "4: means of the layers": (
        lambda: checks.exercise_4(
            lambda c, s, t, cw, sw, tw: cw * np.mean(c) + sw * np.mean(s) + tw * t, style_weight_for
        ),
        "the content losses, weighted.*too small: it is their sum",
    ),
    "4: the weights are swapped": (
        lambda: checks.exercise_4(lambda c, s, t, cw, sw, tw: total_loss(c, s, t, sw, cw, tw), style_weight_for),
        "too large: it is their sum times content_weight",
    ),
    "4: one style layer": (
        lambda: checks.exercise_4(lambda c, s, t, *weights: total_loss(c, s[:1], t, *weights), style_weight_for),
        "the style losses, weighted.*too small",
    ),
    "4: the share of the other losses": (
        lambda: checks.exercise_4(total_loss, lambda share, c, s, t: share * (c + t) / s),
        "the style loss is 33% of the total",
    ),
    "4: the weights of the first example": (
        lambda: checks.exercise_4(lambda c, s, t, *weights: total_loss(c, s, t, 3, 700, 20), style_weight_for),
        "the content losses, weighted.*too large",
    ),
    "4: a negative weight": (
        lambda: checks.exercise_4(total_loss, lambda share, c, s, t: -(c + t) / s),
        "is not above 0",
    ),
    "4: nan": (
        lambda: checks.exercise_4(lambda *losses: float("nan"), style_weight_for),
        "total_loss is finite.*NaN",
    ),
    "4: text": (
        lambda: checks.exercise_4(lambda *losses: str(total_loss(*losses)), style_weight_for),
        "total_loss is one number.*It is a str",
    ),
    "4: no return": (
        lambda: checks.exercise_4(lambda *values: None, style_weight_for),
        "is a return statement missing",
    ),
    "5: without poolings": (
        lambda: checks.exercise_5(lambda name: receptive_field(name, pooling=False, grows=1)),
        "receptive fields of block 1.*conv2_1.*7 pixels are too small: a 2 × 2 pooling adds",
    ),
    "5: poolings add nothing": (
        lambda: checks.exercise_5(lambda name: receptive_field(name, pooling=False)),
        "conv2_1.*9 pixels are too small",
    ),
    "5: the distance of positions does not double": (
        lambda: checks.exercise_5(lambda name: receptive_field(name, grows=1)),
        "conv2_1.*8 pixels are too small",
    ),
    "5: three for each convolution": (
        lambda: checks.exercise_5(lambda name: receptive_field(name, step=3)),
        "conv1_1.*4 pixels are too large: a 3 × 3 convolution adds one position on each side",
    ),
    "5: the radius": (
        lambda: checks.exercise_5(lambda name: receptive_field(name) // 2),
        "conv1_1.*1 pixels are too small",
    ),
    "6: not divided": (
        lambda: checks.exercise_6(lambda X: my_gram(X) * X.size),
        "it is the Gram matrix up to a factor.*60 times the right value",
    ),
    "6: divided by the positions": (
        lambda: checks.exercise_6(lambda X: my_gram(X) * X.shape[1]),
        "4 times the right value, for c, h, w = 4, 3, 5",
    ),
    "6: the positions in rows": (
        lambda: checks.exercise_6(lambda X: gram_of(X, X.asnumpy().reshape(-1, X.shape[1]), X.size)),
        r"my_gram is 4 × 4.*Its shape is \(15, 15\)",
    ),
    "6: reshaped without a transpose": (
        lambda: checks.exercise_6(lambda X: gram_of(X, X.asnumpy().reshape(-1, X.shape[1]).T, X.size)),
        "the sums over the positions.*one row for each channel",
    ),
    "6: the mean is subtracted": (
        lambda: checks.exercise_6(lambda X: np.cov(X.asnumpy().reshape(X.shape[1], -1), bias=True) / X.shape[1]),
        "it is symmetric.*the sums over the positions.*unchanged",
    ),
    "6: c, h and w of the first example": (
        lambda: checks.exercise_6(lambda X: my_gram(X) * X.size / 60),
        "for a different shape",
    ),
    "6: zeros": (lambda: checks.exercise_6(lambda X: np.zeros((4, 4))), "not yet: the sums over the positions"),
    "6: an exception": (
        lambda: checks.exercise_6(lambda X: X.nonsense),
        r"my_gram runs.*AttributeError.*X.asnumpy\(\) converts it to NumPy",
    ),
    "6: exit": (lambda: checks.exercise_6(lambda X: exit(0)), "my_gram runs.*SystemExit"),
    "7: squares": (
        lambda: checks.exercise_7(lambda X: tv(X, of=np.square)),
        "horizontal steps count.*2 is too large.*not the squares",
    ),
    "7: sums": (lambda: checks.exercise_7(lambda X: tv(X, mean=np.sum)), "vertical steps count.*too large: the mean"),
    "7: not halved": (lambda: checks.exercise_7(lambda X: tv(X, half=1)), "vertical steps count.*1 is too large"),
    "7: only horizontal": (
        lambda: checks.exercise_7(lambda X: tv(X, down=False)),
        "vertical steps count.*0 is too small",
    ),
    "7: around the edge": (lambda: checks.exercise_7(around_the_edge), "vertical steps count.*too large"),
    "7: signs": (lambda: checks.exercise_7(lambda X: tv(X, of=np.asarray)), "from bright to dark.*-1 is too small"),
    "7: an array": (lambda: checks.exercise_7(lambda X: X), r"my_tv is one number.*Its shape is \(1, 3, 4, 6\)"),
}


@pytest.mark.parametrize("answer", WRONG)
def test_a_wrong_answer_gets_a_hint(answer):
    check, message = WRONG[answer]
    with pytest.raises(AssertionError, match=f"(?s){message}") as raised:
        check()
    assert str(raised.value).startswith(f"exercise {answer[0]}\n")
    assert "  not yet: " in str(raised.value)


@pytest.mark.slow
def test_a_wrong_answer_fails_with_python_minus_o_too():
    code = "from gluon_nst.lab import checks; checks.exercise_7(lambda X: 5)"
    done = subprocess.run([sys.executable, "-O", "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "AssertionError: exercise 7\n  not yet: a picture of one colour" in done.stderr


def test_the_traceback_does_not_show_the_solution():
    with pytest.raises(AssertionError) as raised:
        checks.exercise_6(lambda X: X.asnumpy())
    assert "einsum" not in str(raised.getrepr(style="long"))


@pytest.mark.parametrize("nothing", [None, 3, lambda *arguments: None])
def test_a_missing_answer_fails(nothing):
    for check, arguments in (
        (checks.exercise_4, 2),
        (checks.exercise_5, 1),
        (checks.exercise_6, 1),
        (checks.exercise_7, 1),
    ):
        with pytest.raises(AssertionError, match="not yet: "):
            check(*[nothing] * arguments)
