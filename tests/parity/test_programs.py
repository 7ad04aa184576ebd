"""Checks of the programs of style-transfer-pytorch and Scaling Painting Style Transfer, with random weights."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from painting import paint

torch = pytest.importorskip("torch", reason="parity is with PyTorch: pip install -e .[torch]")

import program_spst  # noqa: E402
import program_stp  # noqa: E402


@pytest.fixture(scope="module")
def trunk(parameters):
    return {name: array.asnumpy() for name, array in parameters.items() if int(name.split(".")[1]) <= 28}


@pytest.fixture
def given(tmp_path, trunk):
    """Return the content, 32 × 48, the style, 60 × 40, and the parameters."""
    for name, size, seed in ("content", (32, 48), 1), ("style", (60, 40), 2):
        Image.fromarray(paint(*size, seed)).save(tmp_path / f"{name}.png")
    return str(tmp_path / "content.png"), str(tmp_path / "style.png"), trunk


@pytest.fixture
def double(given):
    """Return a program in double precision, and a third picture."""

    def make(module, **options):
        program = module.Program(*given, size=48, dtype=torch.float64, **options)
        step = 0.1 if program.units == "unit" else 25
        noise = torch.randn(program.start.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        return program, program.start + step * noise

    return make


@pytest.fixture
def random():
    return np.random.default_rng(5)


def covariance(random, channels=24, smallest=0.5, largest=2):
    """Return a covariance with eigenvalues from `smallest` to `largest`."""
    V, _ = np.linalg.qr(random.standard_normal((channels, channels)))
    return torch.tensor((V * np.geomspace(smallest, largest, channels)) @ V.T)


def directional(function, x, direction, step):
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


@pytest.mark.parametrize(
    "module, options, step", [(program_stp, {"roots": "accurate"}, 1e-7), (program_spst, {}, 1e-5)], ids=["stp", "spst"]
)
def test_the_gradient_agrees_with_finite_differences(double, module, options, step):
    program, x = double(module, **options)
    terms, gradient = program.terms_and_gradient(x)
    assert terms["total"] == pytest.approx(terms["content"] + sum(terms["style"]) + terms["tv"])
    for seed in range(3):
        direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        direction += gradient * (direction.norm() / gradient.norm())  # otherwise rounding dominates the difference
        expected = directional(lambda x: program.terms_and_gradient(x)[0]["total"], x, direction, step)
        assert (gradient * direction).sum().item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("roots", program_stp.ROOTS)
def test_a_root_squared_is_the_matrix_and_its_gradient_agrees_with_finite_differences(random, roots):
    A, (G, D) = covariance(random), torch.tensor(random.standard_normal((2, 24, 24)))
    D = D + D.T
    A.requires_grad_()
    root = program_stp.ROOTS[roots](A)
    assert torch.allclose(root @ root, A)
    (gradient,) = torch.autograd.grad((root * (G + G.T)).sum(), A)
    expected = directional(lambda A: (program_stp.ROOTS[roots](A) * (G + G.T)).sum().item(), A.detach(), D, 1e-5)
    assert (gradient * D).sum().item() == pytest.approx(expected, rel=1e-6)


def test_twelve_iterations_are_accurate_only_on_well_conditioned_covariances(random):
    def distances(smallest):
        S, S_s = covariance(random, smallest=smallest), covariance(random, smallest=smallest)
        values, gradients = [], []
        for root in program_stp.ROOTS.values():
            S = S.detach().requires_grad_()
            value = program_stp.wasserstein(S[0], S, S_s[0], S_s, root(S_s), root)
            values.append(value.item())
            gradients.append(torch.autograd.grad(value, S)[0])
        return values, (gradients[0] - gradients[1]).norm() / gradients[1].norm()

    (twelve, accurate), apart = distances(0.2)
    assert twelve == pytest.approx(accurate, rel=1e-9)
    assert apart < 1e-6
    (twelve, accurate), _ = distances(1e-7)
    assert twelve > accurate * 1.001


def test_the_distance_of_gaussians_with_the_same_axes_is_that_of_their_deviations(random):
    V, _ = np.linalg.qr(random.standard_normal((24, 24)))
    means, deviations = random.standard_normal((2, 24)), random.uniform(0.5, 2, (2, 24))
    (S, S_s) = (torch.tensor((V * deviation**2) @ V.T) for deviation in deviations)
    expected = ((means[0] - means[1]) ** 2).mean() + ((deviations[0] - deviations[1]) ** 2).mean()
    for root in program_stp.ROOTS.values():
        mean, mean_s = torch.tensor(means)
        assert program_stp.wasserstein(mean, S, mean_s, S_s, root(S_s), root).item() == pytest.approx(expected)


def test_gaussian_agrees_with_numpys_covariance(random):
    F = random.standard_normal((6, 50)) + 2
    mean, S = program_stp.gaussian(torch.tensor(F))
    assert np.allclose(mean, F.mean(1))
    assert np.allclose(S, np.cov(F, bias=True) + 1e-4 * np.eye(6))


def test_total_variation_agrees_with_a_sum_over_pairs(random):
    x = random.uniform(size=(1, 3, 4, 5))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")[0]

    def mean_square(pairs):
        return np.mean([(padded[:, i, j] - padded[:, k, m]) ** 2 for (i, j), (k, m) in pairs])

    inside = [(i, j) for i in range(1, 5) for j in range(1, 6)]
    squares = [(i, j) for i in range(5) for j in range(6)]  # 2 × 2 squares, by their upper left pixels
    expected = 2 / 3 * mean_square([((i, j), (i, j + 1)) for i, j in inside])
    expected += 2 / 3 * mean_square([((i, j), (i + 1, j)) for i, j in inside])
    expected += 2 / 12 * mean_square([((i, j), (i + 1, j + 1)) for i, j in squares])
    expected += 2 / 12 * mean_square([((i, j + 1), (i + 1, j)) for i, j in squares])
    assert program_stp.total_variation(torch.tensor(x)).item() == pytest.approx(expected)


def test_the_first_convolution_has_replicated_edges(given):
    program = program_stp.Program(*given)
    plain = torch.full((1, 3, 32, 48), 0.3)
    first = program.responses(plain)[1]
    assert torch.allclose(first, first[:, :1].expand_as(first))


def test_the_ladder_has_a_factor_of_the_root_of_2():
    assert program_stp.ladder(362) == [128, 181, 256, 362]
    assert program_stp.ladder(512) == [128, 181, 256, 362, 512]
    assert program_stp.ladder(100) == [100]


def test_the_result_is_the_bias_corrected_average_of_the_clamped_iterates(given):
    program = program_stp.Program(*given)
    iterates = [program.start] + [program_stp.descend(program, program.start, n).picture for n in (1, 2, 3)]
    weights = [0.99**3, 0.99**2, 0.99, 1]
    expected = sum(weight * x for weight, x in zip(weights, iterates)) / sum(weights)
    descent = program_stp.descend(program, program.start, 3)
    assert torch.allclose(descent.average, expected, atol=1e-6)
    assert descent.picture.min() >= 0
    assert descent.picture.max() <= 1
    assert descent.totals[-1] < descent.totals[0]


def test_adam_continues_at_the_next_size_with_its_state(given):
    small, large = (program_stp.Program(*given, size=size) for size in (32, 48))
    before = program_stp.descend(small, small.start, 2)
    after = program_stp.descend(large, large.start, 1, before.adam)
    assert (before.adam["step"].item(), after.adam["step"].item()) == (2, 3)
    assert after.adam["exp_avg"].shape == large.start.shape
    assert (after.adam["exp_avg_sq"] >= 0).all()
    fresh = program_stp.descend(large, large.start, 1)
    assert not torch.allclose(after.picture, fresh.picture, atol=1e-4)


def test_stylize_returns_the_average_of_the_last_size(given):
    sizes, averages = [], []

    def report(program, descent):
        sizes.append(program.size)
        averages.append(descent.average)

    picture = program_stp.stylize(*given, 48, smallest=32, steps=(2, 1), report=report)
    assert sizes == [(23, 34), (32, 48)]
    assert torch.equal(picture, averages[-1].clamp(0, 1))


def test_the_program_makes_a_picture_and_evaluates_one(given, tmp_path):
    content, style, trunk = given
    np.savez(tmp_path / "trunk.npz", **trunk)
    out = tmp_path / "out.png"

    def printed(*arguments):
        command = [sys.executable, program_stp.__file__, content, style, *arguments]
        command += ["--parameters", tmp_path / "trunk.npz"]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout

    made = printed(out, "--size", "48", "--steps", "2", "1")
    assert Image.open(out).size == (48, 32)
    lines = (made + printed("--evaluate", out)).splitlines()
    totals = [line.split()[2] for line in lines if "total" in line]
    own, twelve, accurate = (float(total.rstrip(",")) for total in totals)
    assert own == pytest.approx(twelve, rel=0.02)  # the file's pixels are rounded
    assert accurate < twelve


def test_spsts_statistics_agree_with_numpy(random):
    F = random.standard_normal((6, 50)) + 2
    G, mean, std = program_spst.statistics(torch.tensor(F))
    assert np.allclose(G, F @ F.T / 50)
    assert np.allclose(mean, F.mean(1))
    assert np.allclose(std, F.std(1))


def test_spsts_gradient_is_finite_for_a_constant_channel(given):
    content, style, trunk = given
    silent = {**trunk, "features.0.bias": trunk["features.0.bias"] - np.float32(1e6) * (np.arange(64) == 0)}
    program = program_spst.Program(content, style, silent)
    terms, gradient = program.terms_and_gradient(program.start)
    assert program.responses(program.start)[1][0].max() == 0
    assert np.isfinite(terms["total"])
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    "style, expected", [((60, 40), (48, 32)), ((35, 70), (35, 70)), ((30, 20), (30, 20)), ((33, 330), (33, 330))]
)
def test_spsts_style_is_reduced_to_the_contents_shorter_side(given, tmp_path, style, expected):
    Image.fromarray(paint(*style)).save(tmp_path / "other.png")
    program = program_spst.Program(*given, size=(32, 48))
    assert program.scaled_down(str(tmp_path / "other.png")) == expected


def test_spsts_lbfgs_descends(given):
    totals = program_spst.Program(*given, size=48).run(5)
    assert len(totals) == 5
    assert totals[-1] < totals[0]
