"""Times one epoch of the chapter's code as printed and of gluon-nst, in turn in one run, each as a process of its own.

    python scripts/benchmark.py [--size 300x450] [--epochs 6] [--rounds 3]

Prints a Markdown table: the median time of an epoch, the peak memory of the process, and the ratios. The pictures are the
project's own and the weights whatever `auto` finds.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

WARM_UP = 2  # the first epochs allocate and let oneDNN choose its kernels


def as_printed(height, width, epochs, weights, content, style):
    """The chapter's code, written anew from its text: threads as MXNet takes them, nothing frozen, layer by layer."""
    from mxnet import autograd, cpu, gluon, image, init, np, npx
    from mxnet.gluon import nn

    npx.set_np()
    rgb_mean, rgb_std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    style_layers, content_layers = [0, 5, 10, 19, 28], [25]

    pretrained_net = gluon.model_zoo.vision.vgg19()
    # Where pretrained=True would load the whole network: the convolutions from the file, the dense layers at random.
    pretrained_net.initialize()
    pretrained_net(np.zeros((1, 3, 224, 224)))
    pretrained_net.load_parameters(weights, allow_missing=True)
    net = nn.Sequential()
    for i in range(max(content_layers + style_layers) + 1):
        net.add(pretrained_net.features[i])

    def preprocess(img):
        img = image.imresize(img, width, height)
        img = (img.astype("float32") / 255 - rgb_mean) / rgb_std
        return np.expand_dims(img.transpose(2, 0, 1), axis=0)

    def extract_features(X):
        contents, styles = [], []
        for i in range(len(net)):
            X = net[i](X)
            if i in style_layers:
                styles.append(X)
            if i in content_layers:
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

    content_X = preprocess(image.imread(content))
    contents_Y, _ = extract_features(content_X)
    _, styles_Y = extract_features(preprocess(image.imread(style)))
    gen_img = GeneratedImage(content_X.shape)
    gen_img.initialize(init.Constant(content_X), ctx=cpu(), force_reinit=True)
    trainer = gluon.Trainer(gen_img.collect_params(), "adam", {"learning_rate": 0.01})
    X, styles_Y_gram = gen_img(), [gram(Y) for Y in styles_Y]
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        with autograd.record():
            contents_Y_hat, styles_Y_hat = extract_features(X)
            contents_l = [np.square(Y_hat - Y).mean() for Y_hat, Y in zip(contents_Y_hat, contents_Y)]
            styles_l = [np.square(gram(Y_hat) - Y).mean() * 1e3 for Y_hat, Y in zip(styles_Y_hat, styles_Y_gram)]
            tv_l = tv_loss(X) * 10
            l = sum(styles_l + contents_l + [tv_l])
        l.backward()
        trainer.step(1)
        npx.waitall()
        seconds.append(time.perf_counter() - start)
    return seconds, float(l)


def gluon_nst(height, width, epochs, weights, content, style):
    """The same by this package."""
    import gluon_nst as nst

    result = nst.transfer(content, style, sizes=[(height, width)], epochs=epochs, weights=weights)
    return [epoch.seconds for epoch in result.losses], result.losses[-1].total


PROGRAMS = {"chapter as printed": as_printed, "gluon-nst": gluon_nst}


def run(name, arguments, environment):
    """Run program `name` as a process of its own; gives what it measured."""
    command = [sys.executable, __file__, "--program", name, *arguments]
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout
    return json.loads(output.splitlines()[-1])


def main():
    environment = dict(os.environ)  # as it was before gluon_nst sets the threads of this process
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="300x450", metavar="HEIGHTxWIDTH")
    parser.add_argument("--epochs", type=int, default=6, help=f"counted epochs, after {WARM_UP} that are not")
    parser.add_argument("--rounds", type=int, default=3, help="times that the programs take turns")
    parser.add_argument("--program", choices=PROGRAMS, help=argparse.SUPPRESS)
    parser.add_argument("--files", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))

    if arguments.program:
        epochs = arguments.epochs + WARM_UP
        seconds, loss = PROGRAMS[arguments.program](height, width, epochs, *arguments.files)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(json.dumps({"seconds": seconds[WARM_UP:], "loss": loss, "peak": peak}))
        return

    from gluon_nst import pictures, weights

    files = [weights.find(notify=print).path, *pictures.own_pictures()]
    passed = ["--size", arguments.size, "--epochs", str(arguments.epochs), "--files", *map(str, files)]
    runs = {name: [] for name in PROGRAMS}
    for number in range(arguments.rounds):
        for name in PROGRAMS:
            runs[name].append(run(name, passed, environment))
            print(f"round {number + 1}, {name}: {statistics.median(runs[name][-1]['seconds']):.2f} s", file=sys.stderr)

    medians = {name: [statistics.median(one["seconds"]) for one in runs[name]] for name in PROGRAMS}
    print(f"| one epoch at {height} × {width} | median | of the chapter as printed | peak memory | loss at the end |")
    print("| --- | --- | --- | --- | --- |")
    for name in PROGRAMS:
        ratio = statistics.median(mine / printed for mine, printed in zip(medians[name], medians["chapter as printed"]))
        peak = max(one["peak"] for one in runs[name])
        print(f"| {name} | {statistics.median(medians[name]):.2f} s | {ratio:.2f} | {peak:.2f} GB | {runs[name][0]['loss']:.3f} |")


if __name__ == "__main__":
    main()
