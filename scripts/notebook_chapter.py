# %% [markdown]
# # Neural Style Transfer
#
# This notebook follows the chapter *Neural Style Transfer* of *Dive into Deep Learning*. It has the same order and the
# same function names, but its text is our own. Every cell shows its result. The whole notebook takes one to four
# minutes on two cores. Run each cell with Shift-Enter, change something in it, and run it again.
#
# The question: given a photograph (the *content picture*) and a painting (the *style picture*), can we compute a third
# picture, the *composite*, that shows the content of the photograph with the strokes and colours of the painting?

# %%
import gluon_nst as nst  # before mxnet, whose number of threads it sets
from gluon_nst import layers, weights

import matplotlib.pyplot as plt
import numpy as np
from d2l import mxnet as d2l
from mxnet import autograd
from PIL import Image, ImageOps

device = d2l.try_gpu()
print("computed on", device)

# %% [markdown]
# A helper for the figures below: it draws pictures side by side, each with a title.


# %%
def show(pictures, titles, columns=None, height=2.2, **how):
    """Pictures (arrays or PIL images) side by side, in rows of so many `columns`."""
    columns = columns or len(pictures)
    rows = -(-len(pictures) // columns)
    first = np.asarray(pictures[0])
    width = height * first.shape[1] / first.shape[0]
    figure, places = plt.subplots(rows, columns, figsize=(columns * width, rows * (height + 0.3)), squeeze=False)
    for place in places.flat:
        place.axis("off")
    for place, picture, title in zip(places.flat, pictures, titles):
        place.imshow(picture, **how)
        place.set_title(title, fontsize=10)
    figure.tight_layout()
    plt.show()


# %% [markdown]
# ## Method
#
# No network is trained here. VGG-19, trained to classify photographs, extracts *features* from pictures; its parameters
# are frozen. The only parameters that are trained are the pixels of the **composite**. They are initialised with the
# content picture, and every epoch has four steps:
#
# 1. forward propagation: the network extracts the features of the composite,
# 2. three losses compare these features with those of the two pictures,
# 3. backpropagation computes the gradient of the total loss with respect to the pixels,
# 4. the optimiser updates the pixels.
#
# The **content loss** keeps the features of the composite close to those of the photograph, the **style loss** moves
# their statistics towards those of the painting, and the **total variation loss** reduces noise.
#
# ## Reading the Content and Style Images

# %%
content_path, style_path = nst.pictures.own_pictures()
content_img, style_img = nst.read_image(content_path), nst.read_image(style_path)
show([content_img.asnumpy(), style_img.asnumpy()], ["content picture", "style picture"])
print("height, width, channels:", content_img.shape, style_img.shape)

# %% [markdown]
# ## Preprocessing and Postprocessing
#
# The network expects a resized picture with channels first, *standardised* with the statistics of ImageNet: the mean of
# each channel is subtracted, and the difference is divided by the standard deviation. `preprocess` does this, and
# `postprocess` reverses it and clips the values to the range of a picture. `image_shape` is (width, height), as in the
# book.

# %%
image_shape = (225, 150)
X = nst.preprocess(content_img, image_shape)
back = nst.postprocess(X).asnumpy()

figure, (before, after) = plt.subplots(1, 2, figsize=(9, 2.4))
for number, colour in enumerate(("red", "green", "blue")):
    before.hist(content_img.asnumpy()[:, :, number].ravel(), 64, color=colour, histtype="step")
    after.hist(X.asnumpy()[0, number].ravel(), 64, color=colour, histtype="step")
before.set(xlabel="value", ylabel="pixels")
after.set(xlabel="value", ylabel="pixels")
before.set_title("the picture's values, 0 to 255", fontsize=10)
after.set_title(f"after preprocess: around 0, shape {X.shape}", fontsize=10)
figure.tight_layout()
plt.show()

channels = list(X.asnumpy()[0])
show(channels, ["red, standardised", "green, standardised", "blue, standardised"], cmap="gray", vmin=-2.2, vmax=2.7)
show([back], ["and back: postprocess"])

# %% [markdown]
# ## Extracting Features
#
# VGG-19 has sixteen convolutions in five blocks; `conv4_1` is the first of the fourth block. Layers near the input
# respond to edges and colours. Layers near the output have a large receptive field and respond to objects, with less
# regard to their exact positions.
#
# The book uses the first convolution of every block for the style, and the last one of the fourth block for the
# content. Later layers are not needed, so `truncated_vgg19` builds a `Sequential` that ends at index 28.

# %%
style_layers, content_layers = layers.STYLE_LAYERS, layers.CONTENT_LAYERS
print("style:  ", {index: layers.NAMES[index] for index in style_layers})
print("content:", {index: layers.NAMES[index] for index in content_layers})

trunk = weights.find(notify=print)
net = nst.truncated_vgg19(trunk.parameters(28), 28, device)
print(len(net), "layers; the last one:", net[28])
print("parameters:", weights.SOURCES[trunk.source].title)

# %% [markdown]
# `extract_features` runs a picture through the network and keeps the outputs of these layers. Each row below shows five
# channels of one layer, chosen for strong and different responses. Bright means a high value; each map has its own
# scale. Deeper layers are coarser: every block halves the height and the width.
#
# (If the parameters are *VGG-16 held in VGG-19's layers*, the ones available from a package index, the three
# convolutions that VGG-16 lacks, the fourth ones of the last three blocks, are identities. `conv4_4` is then the ReLU
# output of the third convolution of its block, so it has no negative values, and its maps are mostly black.)


# %%
def strong_channels(Y, count=5):
    """The numbers of channels of `Y` (c × h × w) that answer strongly, each as unlike those before it as can be."""
    inner = Y[:, 1:-1, 1:-1].reshape(len(Y), -1)  # the outermost positions see the zeros around the picture
    strongest = np.argsort(-inner.std(axis=1))[:40]
    alike = np.abs(np.corrcoef(inner[strongest]))
    chosen = [0]
    while len(chosen) < count:
        chosen.append(int(np.argmin(alike[chosen].max(axis=0))))
    return strongest[chosen]


contents_Y_hat, styles_Y_hat = nst.extract_features(X.as_in_context(device), net)
features = dict(zip([*style_layers, *content_layers], [*styles_Y_hat, *contents_Y_hat]))

maps, titles = [], []
for index in sorted(features):
    Y = features[index].asnumpy()[0]
    for channel in strong_channels(Y):
        maps.append(Y[channel, 1:-1, 1:-1])
        titles.append(f"{layers.NAMES[index]}, channel {channel}, {Y.shape[1]} × {Y.shape[2]}")
show(maps, titles, columns=5, height=1.7, cmap="magma")

# %% [markdown]
# The features of the two pictures do not change during training, so they are extracted once.

# %%
content_X, contents_Y = nst.get_contents(content_img, image_shape, device, net)
style_X, styles_Y = nst.get_styles(style_img, image_shape, device, net)
for kind, indices, features in (("content", content_layers, contents_Y), ("style", style_layers, styles_Y)):
    for index, Y in zip(indices, features):
        print(f"{kind:8} {layers.NAMES[index]}  {Y.shape}")

# %% [markdown]
# ## Defining the Loss Function
#
# To see what each loss does, we evaluate it on a trial picture: the average of the painting and the photograph. For
# each loss we ask two questions. How large is it? In which direction does it alone move the pixels? The answer to the
# second question is the negative *gradient*; the gradient is an array with the shape of the picture, computed by
# `autograd`.

# %%
trial = (content_X + style_X) / 2
trial.attach_grad()
show([nst.postprocess(trial).asnumpy()], ["the trial picture"])


def value_of(loss, picture):
    """A loss, a function of a picture (a network input) and its content and style features, as a number."""
    return float(loss(picture, *nst.extract_features(picture, net)).asnumpy().item())


def show_gradient(title, loss, length):
    """Where a loss pulls at the pixels of the trial picture, and to which colour; and the picture after a step of that
    length against it."""
    with autograd.record():
        contents_Y_hat, styles_Y_hat = nst.extract_features(trial, net)
        value = loss(trial, contents_Y_hat, styles_Y_hat)
    value.backward()
    gradient = trial.grad.asnumpy()[0]
    stepped = trial - trial.grad * float(length / np.abs(gradient).mean())

    strength = np.abs(gradient).sum(axis=0)
    wish = 0.5 - gradient.transpose(1, 2, 0) / (2 * np.percentile(np.abs(gradient), 99.5))
    pictures = [strength / np.percentile(strength, 99.5), wish.clip(0, 1), nst.postprocess(stepped).asnumpy()]
    before, after = value_of(loss, trial), value_of(loss, stepped)
    titles = ["where it pulls", "to which colour", f"after a step: {before:.3g} becomes {after:.3g}"]
    show(pictures, [f"{title}: {titles[0]}", *titles[1:]], cmap="inferno", vmin=0, vmax=1)


# %% [markdown]
# For each loss we show three pictures: the magnitude of the change at each pixel (bright: large), its colour (grey: no
# change), and the trial picture after one step against the gradient, with the loss before and after the step.

# %% [markdown]
# ### Content Loss
#
# The mean squared difference of two feature maps:
#
# $$\mathcal L_\mathrm{content} = \operatorname{mean}\,(\hat Y - Y)^2 .$$
#
# It compares the features at each position with those of the photograph at the same position.


# %%
def content_loss(X, contents_Y_hat, styles_Y_hat):
    """The chapter's, of the one content layer."""
    return nst.content_loss(contents_Y_hat[0], contents_Y[0])


show_gradient("content loss", content_loss, length=0.05)
print(f"content loss of the trial picture: {value_of(content_loss, trial):.3f}")
print(f"of the photograph itself:          {value_of(content_loss, content_X):.3f}")

# %% [markdown]
# ### Style Loss
#
# Style does not depend on position: a brush stroke has the same style on the left as on the right. So the style loss
# uses sums over all positions. For a feature map with $c$ channels, reshaped to a matrix $\mathbf X$ with $c$ rows and
# $hw$ columns, the **Gram matrix**
#
# $$\mathbf G = \frac{\mathbf X \mathbf X^\top}{c\,h\,w}$$
#
# measures how strongly each pair of channels responds *together*, regardless of the position in the picture.
#
# Compare the Gram matrices of five pictures. Mirroring the painting or shuffling its tiles hardly changes the Gram
# matrix: the style loss hardly distinguishes these pictures from the painting. The Gram matrices of the photograph and
# of the painting without its colours are different.


# %%
def as_picture(X):
    """A network input as a PIL image."""
    return Image.fromarray(np.uint8(nst.postprocess(X).asnumpy() * 255 + 0.5))


painting, photograph = as_picture(style_X), as_picture(content_X)
corners = [(left, top) for top in range(0, 150, 50) for left in range(0, 225, 75)]
shuffled = painting.copy()
for (left, top), number in zip(corners, np.random.default_rng(0).permutation(len(corners))):
    from_left, from_top = corners[number]
    shuffled.paste(painting.crop((from_left, from_top, from_left + 75, from_top + 50)), (left, top))

pictures = {
    "the painting": painting,
    "mirrored": ImageOps.mirror(painting),
    "its tiles, shuffled": shuffled,
    "without colours": painting.convert("L").convert("RGB"),
    "the photograph": photograph,
}
grams = {}
for name, picture in pictures.items():
    _, features = nst.get_styles(nst.read_image(picture), image_shape, device, net)
    grams[name] = [nst.gram(Y) for Y in features]

# %% [markdown]
# Below each picture is its 128 × 128 Gram matrix for `conv2_1`, with the channels sorted by their strength in the
# painting. Below the matrix is the style loss between the picture and the painting, summed over the five layers.

# %%
figure, places = plt.subplots(2, 5, figsize=(13, 4.6), gridspec_kw={"height_ratios": (150 / 225, 1)})
reference = grams["the painting"][1].asnumpy()
order = np.argsort(-reference.diagonal())
largest = np.percentile(np.abs(reference), 99)
for column, (name, picture) in enumerate(pictures.items()):
    squares = [((G - G_painting) ** 2).mean() for G, G_painting in zip(grams[name], grams["the painting"])]
    distance = sum(float(square.asnumpy().item()) for square in squares)
    places[0, column].imshow(picture)
    places[0, column].set_title(name, fontsize=10)
    matrix = grams[name][1].asnumpy()[order][:, order]
    places[1, column].imshow(matrix, cmap="RdBu_r", vmin=-largest, vmax=largest)
    places[1, column].set_xlabel(f"style loss {distance:.5f}", fontsize=10)
for place in places.flat:
    place.set(xticks=[], yticks=[])
figure.tight_layout()
plt.show()

# %% [markdown]
# The style loss of a layer is the mean squared difference between the Gram matrices of the composite and of the
# painting. The losses of the five layers are added. The gradient is nonzero all over the picture, because the style
# loss favours strokes at every position. Note the values printed below the figure: the style loss of the average of the
# two pictures is not half that of the photograph; it is higher than that of the photograph.

# %%
styles_Y_gram = [nst.gram(Y) for Y in styles_Y]


def style_loss(X, contents_Y_hat, styles_Y_hat):
    """The chapter's, summed over the style layers."""
    return sum(nst.style_loss(Y_hat, gram_Y) for Y_hat, gram_Y in zip(styles_Y_hat, styles_Y_gram))


show_gradient("style loss", style_loss, length=0.1)
print(f"style loss of the trial picture: {value_of(style_loss, trial):.5f}")
print(f"of the photograph:               {value_of(style_loss, content_X):.5f}")

# %% [markdown]
# ### Total Variation Loss
#
# The two losses above do not penalise high-frequency noise: dots that are brighter or darker than their neighbours. The
# total variation loss measures the differences between neighbouring pixels, vertically and horizontally:
#
# $$\mathcal L_\mathrm{tv} = \tfrac12 \left( \operatorname{mean} |x_{i+1,j} - x_{i,j}| +
# \operatorname{mean} |x_{i,j+1} - x_{i,j}| \right) .$$

# %%
show_gradient("TV loss", lambda X, contents_Y_hat, styles_Y_hat: nst.tv_loss(X), length=0.1)

noise = np.random.default_rng(0).normal(0, 25, np.asarray(photograph).shape)
noisy = Image.fromarray(np.uint8(np.clip(photograph + noise, 0, 255)))
smooth = photograph.resize((45, 30)).resize(photograph.size)
variants = {"smooth": smooth, "the photograph": photograph, "with noise": noisy}
values = [nst.tv_loss(nst.preprocess(nst.read_image(each), image_shape)).asnumpy().item() for each in variants.values()]
show(list(variants.values()), [f"{name}: TV loss {value:.2f}" for name, value in zip(variants, values)])

# %% [markdown]
# ### Loss Function
#
# The total loss is the weighted sum of the three losses. A higher content weight keeps more of the photograph, a higher
# style weight gives more of the painting, and a higher total variation weight makes the picture smoother. The book's
# weights are 1, 1000 and 10. The size of a weight means little without the loss that it multiplies, so compare the
# weighted losses: the largest one dominates the first steps.

# %%
contents_Y_hat, styles_Y_hat = nst.extract_features(trial, net)
contents_l, styles_l, tv_l, l = nst.compute_loss(trial, contents_Y_hat, styles_Y_hat, contents_Y, styles_Y_gram)

names = [f"content, {layers.NAMES[index]}" for index in content_layers]
names += [f"style, {layers.NAMES[index]}" for index in style_layers] + ["total variation"]
values = [float(each.asnumpy().item()) for each in [*contents_l, *styles_l, tv_l]]
figure, place = plt.subplots(figsize=(7, 2.6))
bars = place.barh(names[::-1], values[::-1], color=["tab:green", *["tab:orange"] * 5, "tab:blue"])
place.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
place.set_title(f"the weighted losses of the trial picture: {l.asnumpy().item():.2f} in all", fontsize=10)
place.margins(x=0.12)
figure.tight_layout()
plt.show()

# %% [markdown]
# ## Initializing the Synthesized Image
#
# A `GeneratedImage` is a block whose only parameter is the composite. `get_inits` creates one, initialised with `X`,
# and returns it with the Gram matrices of the painting and a `Trainer`.

# %%
composite, styles_Y_gram, trainer = nst.get_inits(content_X, device, 0.01, styles_Y)
print("parameters to learn:", composite.size, "=", " × ".join(map(str, composite.shape)))
print("optimiser:", type(trainer.optimizer).__name__, "with a learning rate of", trainer.learning_rate)

# %% [markdown]
# ## Training
#
# `train` is the training loop: forward propagation, losses, backpropagation, update. Every `lr_decay_epoch` epochs the
# learning rate is divided by ten, so the first steps are large and the last ones small.
#
# The book trains for 500 epochs, and then for 300 at twice the size. This notebook uses fewer epochs and a higher
# learning rate, and reaches nearly the same losses at the first size. For the book's run, set `FAITHFUL = True`; the
# cell prints an estimate of its duration.

# %%
FAITHFUL = False

book = {"lr": [0.01, 0.01], "epochs": [500, 300], "lr_decay_epoch": [200, 100]}
shorter = {"lr": [0.05, 0.03], "epochs": [100, 30], "lr_decay_epoch": [60, 20]}

jobs = {
    name: nst.Job(content_path, style_path, recipe="d2l-2019", sizes=[(150, 225), (300, 450)], **settings)
    for name, settings in (("the book's run", book), ("the shorter one", shorter))
}
for name, job in jobs.items():
    print(f"{name} will take about {nst.estimate(job).seconds / 60:.1f} minutes here")
first, second = jobs["the book's run" if FAITHFUL else "the shorter one"].recipe.stages

# %% [markdown]
# During training, `Live` redraws the composite and its losses in the output of the cell. Watch where the style appears
# first, and how the curves change when the learning rate drops.

# %%
lr, num_epochs, lr_decay_epoch = first.lr, first.epochs, first.lr_decay_epoch
output = nst.train(
    content_X, contents_Y, styles_Y, net, device, lr, num_epochs, lr_decay_epoch, observer=nst.observers.Live()
)
small = as_picture(output)
show([photograph, small], ["where it began", f"after {num_epochs} epochs"], height=3)

# %% [markdown]
# ## From Coarse to Fine
#
# The receptive fields of the network have a fixed size in pixels. If training starts at a large size, the strokes are
# too small relative to the picture. Moreover, at twice the size every epoch takes four times as long. So the 2019
# edition of the book trains a small composite, enlarges it, and trains the enlarged one: the small one determines the
# layout, and the large one adds detail. The features of the two pictures depend on the size, so they are extracted
# again.

# %%
image_shape = (450, 300)
_, contents_Y = nst.get_contents(content_img, image_shape, device, net)
_, styles_Y = nst.get_styles(style_img, image_shape, device, net)
X = nst.preprocess(nst.read_image(small), image_shape).as_in_context(device)

lr, num_epochs, lr_decay_epoch = second.lr, second.epochs, second.lr_decay_epoch
output = nst.train(X, contents_Y, styles_Y, net, device, lr, num_epochs, lr_decay_epoch, observer=nst.observers.Live())
large = as_picture(output)

# %% [markdown]
# The two composites, and the same part of both at the same scale:

# %%
enlarged = small.resize(large.size, Image.Resampling.BICUBIC)
part = (225, 150, 425, 283)
show([small, large], ["150 × 225", "300 × 450"], height=3)
show(
    [enlarged.crop(part), large.crop(part)],
    ["a part of the small one, enlarged", "the same part of the large one"],
    height=3,
)

# %% [markdown]
# The learning rate and the size by epoch. At each size the learning rate starts high and decreases.

# %%
rates = [stage.lr_at(epoch) for stage in (first, second) for epoch in range(stage.epochs)]
figure, place = plt.subplots(figsize=(7, 2.2))
place.semilogy(rates, drawstyle="steps-post", color="black")
begun = 0
for stage in (first, second):
    place.axvspan(begun, begun + stage.epochs, alpha=0.15, color="tab:blue" if begun == 0 else "tab:orange")
    place.text(begun + stage.epochs / 2, 1.2e-1, "{} × {}".format(*stage.shape), ha="center", va="bottom", fontsize=10)
    begun += stage.epochs
place.set(xlabel="epoch", ylabel="learning rate", ylim=(2e-5, 4e-1), xlim=(0, begun))
figure.tight_layout()
plt.show()

# %% [markdown]
# ## Finer
#
# The recipe `fine` follows the same method (one network, three losses, from coarse to fine) with newer parts: the style
# statistics are means and covariances of more layers, compared as Gaussian distributions, and the optimiser is L-BFGS
# instead of Adam. It is the default recipe of `gluon-nst render`. In Python it needs a single call, here with a small
# size and fewer epochs than the default. The curves jump where a larger size starts. The last line of the cell is a
# `Result`, which displays its picture.

# %%
result = nst.transfer(
    content_path, style_path, recipe="fine", sizes=300, epochs=[40, 15], observers=[nst.observers.Live()]
)
result

# %%
fine = result.image
titles = [f"as the chapter has it, {large.height} × {large.width}", f"fine, {fine.height} × {fine.width}"]
show([large, fine], titles, height=3.2)

# %% [markdown]
# ## Summary
#
# - The pixels of the composite are trained; the network is frozen.
# - The content loss compares features position by position, the style loss compares Gram matrices, which do not depend
#   on position, and the total variation loss reduces noise.
# - The weights of the losses determine the balance between content, style and smoothness.
# - Training from coarse to fine takes less time for a large picture, and gives strokes of a suitable size.
#
# ## Exercises
#
# `gluon-nst notebook exercises` writes a notebook with nine exercises, three of them from the chapter, each with a
# check. Or continue here:
#
# 1. Set the style weight in
#    `nst.transfer(content_path, style_path, recipe="d2l-2019", sizes=[(150, 225)], epochs=100, style_weight=1e4)`.
# 2. Initialise the composite with noise: `init="noise"`.
# 3. Use your own pictures: replace `content_path` and `style_path` with their paths.
