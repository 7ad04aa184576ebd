"""The programs that benchmark.py measures, each in a subprocess.

    python scripts/benchmark_programs.py PyTorch \
        '{"stages": [[300, 450, 8, 100]], "weights": …, "content": …, "style": …, "bfloat16": true}'

A program gets stages (height, width, epochs, epochs between two decays of the learning rate) and its own options, and
reports the total loss of every epoch. With a "target" it ends as soon as the loss of the last stage is at or below it.
The output is JSON: the time, in seconds since the imports, and the loss of every epoch, and the peak memory of the
process in GB.
"""

import contextlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

CONTENT_LAYERS, STYLE_LAYERS = [25], [0, 5, 10, 19, 28]


class Reached(Exception):
    """The loss has reached the target."""


class Report:
    """Records the time and the loss of every epoch."""

    def __init__(self, stages, target):
        self.epochs, self._last_stage, self._target = [], len(stages), target

    def begin(self):
        """Start the clock, after the imports."""
        self._start = time.perf_counter()

    def __call__(self, stage, total):
        self.epochs.append((stage, round(time.perf_counter() - self._start, 4), round(total, 4)))
        if stage == self._last_stage and self._target and total <= self._target:
            raise Reached


def as_printed(stages, weights, content, style, report):
    """Run the chapter's code, written from its text: MXNet's default threads, parameters not frozen, layer by layer."""
    from mxnet import autograd, cpu, gluon, image, init, np, npx
    from mxnet.gluon import nn

    report.begin()
    npx.set_np()
    rgb_mean, rgb_std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pretrained_net = gluon.model_zoo.vision.vgg19()
    # In place of pretrained=True: the convolutions from the file, the dense layers at random.
    pretrained_net.initialize()
    pretrained_net(np.zeros((1, 3, 224, 224)))
    pretrained_net.load_parameters(weights, allow_missing=True)
    net = nn.Sequential()
    for i in range(max(CONTENT_LAYERS + STYLE_LAYERS) + 1):
        net.add(pretrained_net.features[i])

    def preprocess(img, height, width):
        img = image.imresize(img, width, height)
        img = (img.astype("float32") / 255 - rgb_mean) / rgb_std
        return np.expand_dims(img.transpose(2, 0, 1), axis=0)

    def postprocess(img):
        return (img[0].transpose(1, 2, 0) * rgb_std + rgb_mean).clip(0, 1)

    def extract_features(X):
        contents, styles = [], []
        for i in range(len(net)):
            X = net[i](X)
            if i in STYLE_LAYERS:
                styles.append(X)
            if i in CONTENT_LAYERS:
                contents.append(X)
        return contents, styles

    def gram(X):
        num_channels, n = X.shape[1], X.size // X.shape[1]
        X = X.reshape((num_channels, n))
        return np.dot(X, X.T) / (num_channels * n)

    def tv_loss(Y_hat):
        return 0.5 * (
            np.abs(Y_hat[:, :, 1:, :] - Y_hat[:, :, :-1, :]).mean()
            + np.abs(Y_hat[:, :, :, 1:] - Y_hat[:, :, :, :-1]).mean()
        )

    class GeneratedImage(nn.Block):
        def __init__(self, img_shape, **kwargs):
            super().__init__(**kwargs)
            self.weight = self.params.get("weight", shape=img_shape)

        def forward(self):
            return self.weight.data()

    content_img, style_img, X = image.imread(content), image.imread(style), None
    for stage, (height, width, epochs, lr_decay_epoch) in enumerate(stages, start=1):
        content_X = preprocess(content_img, height, width)
        contents_Y, _ = extract_features(content_X)
        _, styles_Y = extract_features(preprocess(style_img, height, width))
        X = content_X if X is None else preprocess(postprocess(X) * 255, height, width)
        gen_img = GeneratedImage(X.shape)
        gen_img.initialize(init.Constant(X), ctx=cpu(), force_reinit=True)
        trainer = gluon.Trainer(gen_img.collect_params(), "adam", {"learning_rate": 0.01})
        X, styles_Y_gram = gen_img(), [gram(Y) for Y in styles_Y]
        for i in range(epochs):
            with autograd.record():
                contents_Y_hat, styles_Y_hat = extract_features(X)
                contents_l = [np.square(Y_hat - Y).mean() for Y_hat, Y in zip(contents_Y_hat, contents_Y)]
                styles_l = [np.square(gram(Y_hat) - Y).mean() * 1e3 for Y_hat, Y in zip(styles_Y_hat, styles_Y_gram)]
                tv_l = tv_loss(X) * 10
                l = sum(styles_l + contents_l + [tv_l])
            l.backward()
            trainer.step(1)
            npx.waitall()
            report(stage, float(l))
            if i % lr_decay_epoch == 0 and i != 0:
                trainer.set_learning_rate(trainer.learning_rate * 0.1)


def pytorch(
    stages, weights, content, style, report, *, channels_last=False, bfloat16=False, compiled=False, lbfgs=False
):
    """Run the chapter in PyTorch, with frozen parameters and PyTorch's default threads (every core)."""
    import numpy as np
    import torch
    from PIL import Image
    from torch import nn
    from torch.nn.functional import interpolate

    report.begin()
    layers, channels = [], 3
    for convolutions, width in ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)):
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    net = nn.Sequential(*layers[: max(CONTENT_LAYERS + STYLE_LAYERS) + 1])
    with np.load(weights) as arrays:
        net.load_state_dict({name[len("features.") :]: torch.from_numpy(arrays[name]) for name in arrays})
    net.requires_grad_(False)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net.to(memory_format=layout)
    rgb_mean, rgb_std = (torch.tensor(x).reshape(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def read_image(path):
        return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None].float()

    def preprocess(img, height, width):
        img = interpolate(img, (height, width), mode="bilinear").round()
        # PyTorch's L-BFGS needs a contiguous picture; extract_features converts it to the layout.
        return ((img / 255 - rgb_mean) / rgb_std).contiguous(memory_format=torch.contiguous_format if lbfgs else layout)

    def postprocess(X):
        return (X.detach() * rgb_std + rgb_mean).clamp(0, 1)

    def extract_features(X):
        contents, styles = [], []
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            X = X.contiguous(memory_format=layout)
            for i, layer in enumerate(net):
                X = layer(X)
                if i in STYLE_LAYERS:
                    styles.append(X.float())
                if i in CONTENT_LAYERS:
                    contents.append(X.float())
        return contents, styles

    def gram(X):
        num_channels, n = X.shape[1], X.numel() // X.shape[1]
        X = X.reshape((num_channels, n))
        return torch.matmul(X, X.T) / (num_channels * n)

    def tv_loss(Y_hat):
        return 0.5 * (
            torch.abs(Y_hat[:, :, 1:, :] - Y_hat[:, :, :-1, :]).mean()
            + torch.abs(Y_hat[:, :, :, 1:] - Y_hat[:, :, :, :-1]).mean()
        )

    content_img, style_img, X = read_image(content), read_image(style), None
    for stage, (height, width, epochs, lr_decay_epoch) in enumerate(stages, start=1):
        with torch.no_grad():
            content_X = preprocess(content_img, height, width)
            contents_Y, _ = extract_features(content_X)
            styles_Y_gram = [gram(Y) for Y in extract_features(preprocess(style_img, height, width))[1]]
        X = nn.Parameter(content_X.clone() if X is None else preprocess(postprocess(X) * 255, height, width))

        def losses(X, contents_Y, styles_Y_gram):
            contents_Y_hat, styles_Y_hat = extract_features(X)
            contents_l = [torch.square(Y_hat - Y).mean() for Y_hat, Y in zip(contents_Y_hat, contents_Y)]
            styles_l = [torch.square(gram(Y_hat) - Y).mean() * 1e3 for Y_hat, Y in zip(styles_Y_hat, styles_Y_gram)]
            return sum([*contents_l, *styles_l, tv_loss(X) * 10])

        # Compiled for each size; dynamic shapes, the default from the second size on, are slower.
        objective = torch.compile(losses, dynamic=False) if compiled else losses

        def compute_loss():
            total = objective(X, contents_Y, styles_Y_gram)
            X.grad = None
            total.backward()
            return total

        if lbfgs:
            trainer = torch.optim.LBFGS(
                [X], max_iter=epochs, max_eval=epochs, history_size=10, line_search_fn="strong_wolfe",
                tolerance_grad=0, tolerance_change=0,
            )  # fmt: skip

            def closure():
                total = compute_loss()
                report(stage, total.item())
                return total

            trainer.step(closure)
            continue
        trainer = torch.optim.Adam([X], lr=0.01)
        for i in range(epochs):
            total = compute_loss()
            trainer.step()
            report(stage, total.item())
            if i % lr_decay_epoch == 0 and i != 0:
                trainer.param_groups[0]["lr"] *= 0.1


def gluon_nst(stages, weights, content, style, report, *, recipe="d2l-2019", check=False, **options):
    """Run this package with a recipe; `stages` determine the sizes and the epochs.

    With `check` return the total loss of the result, evaluated in float32 with the functions of the chapter.
    """
    import gluon_nst as nst
    from gluon_nst.runs.run import prepare

    report.begin()
    if stages:
        options.update(sizes=[stage[:2] for stage in stages], epochs=[stage[2] for stage in stages])
    run = prepare(nst.Job(content, style, recipe=recipe, weights=weights, **options))
    state = nst.State()
    with contextlib.suppress(Reached):
        for reached in nst.steps(run, state):
            report(reached.record[-1].stage, reached.record[-1].losses.total)
    if check:
        return plain_loss(state.reached(run.recipe), weights, content, style, run.recipe)


def plain_loss(X, weights, content, style, recipe):
    import gluon_nst as nst
    from gluon_nst import weights as trunks

    import mxnet as mx

    _, _, height, width = X.shape
    net = nst.truncated_vgg19(trunks.find(weights).parameters(28, recipe.activation_scale), 28, mx.cpu())
    _, contents_Y = nst.get_contents(nst.read_image(content), (width, height), mx.cpu(), net)
    _, styles_Y = nst.get_styles(nst.read_image(style), (width, height), mx.cpu(), net)
    features = nst.extract_features(X, net)
    return nst.compute_loss(X, *features, contents_Y, [nst.gram(Y) for Y in styles_Y])[-1].asscalar().item()


PROGRAMS = {"chapter as printed": as_printed, "PyTorch": pytorch, "gluon-nst": gluon_nst}


def best_matrix_product():
    """Return the speed of the fastest float32 matrix product by library, in GFLOP/s, over two sizes."""
    import gluon_nst  # noqa: F401 (sets the threads to every core)

    import numpy as np
    import torch
    from mxnet import nd

    best = {}
    for n in (2048, 3072):
        a, b = (np.random.default_rng(seed).standard_normal((n, n), dtype=np.float32) for seed in (1, 2))
        nd_a, nd_b, torch_a, torch_b = nd.array(a), nd.array(b), torch.from_numpy(a), torch.from_numpy(b)
        for name, product in (
            ("oneDNN, by MXNet", lambda: nd.FullyConnected(nd_a, nd_b, no_bias=True, num_hidden=n).wait_to_read()),
            ("OpenBLAS, by NumPy", lambda: a @ b),
            ("MKL, by PyTorch", lambda: torch_a @ torch_b),
        ):
            for _ in range(8):
                start = time.perf_counter()
                product()
                best[name] = max(best.get(name, 0), 2e-9 * n**3 / (time.perf_counter() - start))
    return best


GROUPS = {
    "convolutions": ("Convolution",),
    "Gram matrices": ("FullyConnected", "Reshape", "reshape", "transpose"),
    "ReLU and pooling": ("Activation", "Pooling"),
    "sums of gradients": ("add_n", "_grad_add"),
    "casts to and from bfloat16": ("amp_cast", "amp_multicast"),
}


def profile(stages, weights, content, style, **options):
    """Return the milliseconds of an epoch by group of operators, from MXNet's profiler without bulk execution."""
    os.environ["MXNET_EXEC_BULK_EXEC_TRAIN"] = "0"
    import gluon_nst as nst

    import mxnet as mx

    warm_up, (height, width, epochs, _) = 3, stages[0]
    # Not os.devnull: MXNet deletes an existing file of that name, which succeeds for root.
    file = Path(tempfile.mkdtemp()) / "profile.json"
    mx.profiler.set_config(profile_all=True, aggregate_stats=True, filename=str(file))

    job = nst.Job(
        content, style, recipe="d2l-2019", weights=weights, sizes=[(height, width)], epochs=warm_up + epochs, **options
    )
    for state in nst.steps(job):
        if state.epoch == warm_up:
            mx.nd.waitall()
            mx.profiler.dumps(reset=True)
            mx.profiler.set_state("run")
    mx.nd.waitall()
    mx.profiler.set_state("stop")
    table = json.loads(mx.profiler.dumps(format="json"))
    shutil.rmtree(file.parent)
    milliseconds = dict.fromkeys([*GROUPS, "the rest"], 0.0)
    for operator, row in table["Time"]["operator"].items():
        name = operator.replace("_backward_", "")
        group = next((group for group, names in GROUPS.items() if name in names), "the rest")
        milliseconds[group] += row["Total"] / epochs
    return milliseconds


def main():
    name, run = sys.argv[1], json.loads(sys.argv[2])
    if name == "limit":
        print(json.dumps(best_matrix_product()))
        return
    if name == "profile":
        print(json.dumps(profile(**run)))
        return
    stages = run.pop("stages")
    report = Report(stages, run.pop("target", None))
    given, checked = [run.pop(what) for what in ("weights", "content", "style")], None
    with contextlib.suppress(Reached):
        checked = PROGRAMS[name](stages, *given, report, **run)
    # Not from getrusage, which starts at the peak of the parent process.
    peak = int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text()).group(1)) * 1024 / 1e9
    assert all(math.isfinite(total) for _, _, total in report.epochs)
    print(json.dumps({"epochs": report.epochs, "peak": peak, "float32 loss": checked}))


if __name__ == "__main__":
    main()
