"""The conversion of Caffe's networks: the same function, with outputs at the model zoo's scale."""

from gluon_nst import weights
from gluon_nst.errors import InputError
from gluon_nst.network import layers
from gluon_nst.network.vgg import truncated_vgg19
from gluon_nst.weights import calibration, conversion

import numpy as np
import pytest
from mxnet import cpu, nd

from weights_files import blocks_and_numbers, in_cache, save_keras
from weights_networks import assert_close, assert_computes_vgg16, assert_equal, run_vgg19, vgg16

pytestmark = pytest.mark.usefixtures("weights_folder")


def test_caffes_input_is_folded_into_the_first_convolution(arrays, picture):
    folded = conversion.fold_caffe_input(arrays)
    (_, _, kernel, bias), *_ = blocks_and_numbers(arrays)
    expected = vgg16(picture, [(1, 1, kernel, bias)])[0]
    assert_close(run_vgg19(folded, picture)[0], expected, 1e-5)
    assert all(folded[name] is arrays[name] for name in list(layers.parameter_shapes())[2:])


@pytest.mark.slow
def test_vgg16_in_vgg19_computes_the_same_as_vgg16(originals, picture):
    assert_computes_vgg16(originals["hed"], picture)


@pytest.mark.slow
def test_rescaling_keeps_the_function_up_to_scale_and_reaches_the_targets(arrays, picture, small_pictures):
    scales = conversion.calibrate(arrays)
    rescaled = conversion.rescale(arrays, scales)
    deviations = conversion.output_deviations(rescaled, conversion.paint_pictures())
    targets = {0: 3, 2: 3.65, 5: 4.3, 7: 7.15, 10: 10, 12: 8.75, 14: 7.5, 16: 6.25, 19: 5, 21: 6, 23: 7, 25: 8}
    for index in layers.CONVOLUTIONS:
        assert deviations[index] == pytest.approx(targets.get(index, 2.5), rel=2e-3)
    before, after = run_vgg19(arrays, picture), run_vgg19(rescaled, picture)
    for index in layers.CONVOLUTIONS:
        assert_close(after[index], before[index] * scales[index], 1e-4)
    assert conversion.calibrate(arrays) == scales
    back = conversion.rescale(rescaled, {index: 1 / scale for index, scale in scales.items()})
    assert_equal(back, arrays, rtol=1e-6)


@pytest.mark.slow
def test_a_trunk_with_a_constant_output_is_refused_and_not_kept(tmp_path, arrays, weights_folder, small_pictures):
    path = save_keras(tmp_path / "zero.h5", {name: array * 0 for name, array in arrays.items()})
    with pytest.raises(InputError, match="zero.h5: the output of conv1_1 is constant"):
        weights.find(str(path))
    assert in_cache(weights_folder) == []


@pytest.mark.slow
def test_calibration_pictures_are_always_the_same_and_fill_the_range():
    pictures = calibration.paint_pictures()
    assert pictures.shape == (4, 150, 225, 3)
    assert pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures, calibration.paint_pictures())
    assert 80 < pictures.mean() < 170
    assert pictures.std() > 40


@pytest.mark.slow
def test_at_the_scale_of_mean_one_each_layers_mean_activation_is_one(weights_file, arrays, small_pictures):
    trunk = weights.find(str(weights_file))
    last = layers.LAYERS["conv4_1"]
    found = {name: array.asnumpy() for name, array in trunk.parameters(last, "mean-one").items()}
    means = conversion.activations(found, last)
    assert sorted(means) == [index for index in layers.CONVOLUTIONS if index <= last]
    assert list(means.values()) == pytest.approx([1] * len(means), rel=1e-4)
    plain = conversion.activations({name: arrays[name] for name in found}, last)
    assert max(abs(mean - 1) for mean in plain.values()) > 0.1  # it was different before


@pytest.mark.slow
def test_at_the_scale_of_mean_one_a_network_computes_the_same_up_to_scale(weights_file, small_pictures):
    trunk, last = weights.find(str(weights_file)), layers.LAYERS["conv3_1"]
    X = nd.array(np.random.default_rng(1).normal(size=(1, 3, 24, 32)))
    plain, scaled = (
        truncated_vgg19(trunk.parameters(last, scale), last, cpu())(X).asnumpy() for scale in ("model-zoo", "mean-one")
    )
    means = conversion.activations({name: array.asnumpy() for name, array in trunk.parameters(last).items()}, last)
    assert_close(scaled, plain / means[last], 1e-4)
