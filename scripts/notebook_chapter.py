# %% [markdown]
# # Neural Style Transfer
#
# The chapter *Neural Style Transfer* of *Dive into Deep Learning*, in our own words, in its order and under its names.
# Every cell shows what it did. From top to bottom it takes one to four minutes on two cores; read each cell, run it
# (Shift and Enter), change something in it, and run it again.
#
# The question: given a photograph (the *content picture*) and a painting (the *style picture*), can a third picture,
# the *composite*, have what the one shows and the strokes and colours of the other?

# %%
import gluon_nst as nst  # before mxnet, which it tells of this machine's cores
from gluon_nst import layers, weights

import matplotlib.pyplot as plt
import numpy as np
from d2l import mxnet as d2l
from mxnet import autograd
from PIL import Image, ImageOps

device = d2l.try_gpu()
print("computed on", device)

# %% [markdown]
# A helper for the figures below: pictures side by side, each under its title.


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
# No network is trained here. VGG-19 has been trained to name what is in a photograph, and stays as it is: a machine
# that turns a picture into *features*. What is trained is the **composite itself**. Its pixels are the parameters; they
# begin as the content picture, and in every epoch
#
# 1. the composite goes through the network (forward),
# 2. three losses compare its features with those of the two pictures,
# 3. the gradient of their sum goes back through the network, down to the pixels (backward),
# 4. the optimiser moves each pixel a little against it.
#
# The **content loss** holds the composite near the photograph's deep features, the **style loss** draws it to the
# painting's statistics, and the **total variation loss** keeps noise down.
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
# The network wants a picture of its own kind: resized, channels first, and *standardised*, which means that from each
# of the three channels the mean over all of ImageNet's photographs is taken, and the rest divided by their standard
# deviation. `preprocess` does that, and `postprocess` undoes it, clipping what no picture can show. `image_shape` is
# (width, height), as the book has it.

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
# VGG-19 has sixteen convolutions in five blocks. `conv4_1` is the first of the fourth block. Near the input the
# features are edges and colours; towards the end each of them sees a large part of the picture and answers to *what* is
# there rather than to where exactly.
#
# The book takes the first convolution of every block for the style, and the last one of the fourth for the content.
# What comes after the last of them is not needed, so `truncated_vgg19` builds the network only so far: a `Sequential`
# up to the index 28.

# %%
style_layers, content_layers = layers.STYLE_LAYERS, layers.CONTENT_LAYERS
print("style:  ", {index: layers.NAMES[index] for index in style_layers})
print("content:", {index: layers.NAMES[index] for index in content_layers})

trunk = weights.find(notify=print)
net = nst.truncated_vgg19(trunk.parameters(28), 28, device)
print(len(net), "layers; the last one:", net[28])
print("parameters:", weights.SOURCES[trunk.source].title)

# %% [markdown]
# `extract_features` sends a picture through the network and keeps what comes out of these layers. Each row below is a
# layer; in it are five of its channels, strong ones that differ from one another; bright is a high number, and each map
# has a scale of its own. The further down, the coarser: every block halves the height and the width.
#
# (Where the parameters are *VGG-16 held in VGG-19's layers*, which is what a package index has, VGG-19's three
# additional convolutions, the fourth ones of the last three blocks, pass on what they get. Then `conv4_4` is the third
# convolution of its block after its ReLU, and nowhere below 0: its maps are mostly black.)


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
# The features of the two pictures do not change while the composite is trained. So they are extracted once.

# %%
content_X, contents_Y = nst.get_contents(content_img, image_shape, device, net)
style_X, styles_Y = nst.get_styles(style_img, image_shape, device, net)
for kind, indices, features in (("content", content_layers, contents_Y), ("style", style_layers, styles_Y)):
    for index, Y in zip(indices, features):
        print(f"{kind:8} {layers.NAMES[index]}  {Y.shape}")

# %% [markdown]
# ## Defining the Loss Function
#
# The losses are best looked at on a picture that is neither the one nor the other. Here is one to try them on: the
# painting laid over the photograph, half and half. For each loss we shall ask two things. How large is it? And in which
# direction would it move the pixels, if it were alone? The latter is its *gradient*, an array of the picture's own
# shape, which `autograd` gives.

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
# Three pictures will show it for each loss: where the loss pulls at the pixels (bright), to which colour (grey is
# nowhere), and the trial picture after one step against the gradient, with the loss before and after it.

# %% [markdown]
# ### Content Loss
#
# The mean squared difference of two feature maps:
#
# $$\mathcal L_\mathrm{content} = \operatorname{mean}\,(\hat Y - Y)^2 .$$
#
# It compares what the network sees at each place with what it sees there in the photograph.


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
# Style has no place. A stroke is as much in the painter's manner at the left as at the right. So the positions are
# summed out: of the feature map of $c$ channels, laid out as a matrix $\mathbf X$ of $c$ rows and $hw$ columns, the
# **Gram matrix**
#
# $$\mathbf G = \frac{\mathbf X \mathbf X^\top}{c\,h\,w}$$
#
# says for every two channels how strongly they answer *together*. Where in the picture that happens is gone.
#
# Look at how it changes with the picture, and how it does not. The painting mirrored, or cut into tiles that are laid
# out anew, has nearly the Gram matrix that it had: to the style loss they are the same painting. The photograph, and
# the painting without its colours, are others.


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
# Below each picture is its Gram matrix in `conv2_1`, 128 × 128, the channels in the order of their strength in the
# painting; and the style loss, summed over the five layers, between it and the painting.

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
# The style loss of a layer is the mean squared difference of two such matrices, that of the composite and that of the
# painting. It is taken in each of the five layers, and summed. Its gradient pulls everywhere, as the strokes are to be
# everywhere. And mark its size: half a painting does not have half of its style.

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
# What the two losses leave open is filled with high-frequency noise: dots brighter or darker than their neighbours. The
# total variation loss counts how much neighbours differ, downwards and across, and so wants them alike:
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
# What is minimised is the weighted sum of the three. The weights decide what the picture becomes: more weight on the
# content keeps the photograph, more on the style gives it up to the painting, more on the total variation makes it
# smooth. The book's are 1, 1000 and 10, and they are large or small only beside the losses that they multiply. So look
# at what they make of them: which bar is the longest is what the optimiser will shorten first.

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
# A `GeneratedImage` is a block with one parameter, the composite, and nothing else to learn. `get_inits` makes one that
# begins as `X`, with the Gram matrices of the painting and a `Trainer` that will change it.

# %%
composite, styles_Y_gram, trainer = nst.get_inits(content_X, device, 0.01, styles_Y)
print("parameters to learn:", composite.size, "=", " × ".join(map(str, composite.shape)))
print("optimiser:", type(trainer.optimizer).__name__, "with a learning rate of", trainer.learning_rate)

# %% [markdown]
# ## Training
#
# `train` is the loop: forward, losses, backward, one step; and after every so many epochs a learning rate ten times
# smaller. The first epochs take large steps, the last ones small.
#
# The book trains for 500 epochs, and then for 300 at twice the size. This notebook takes fewer epochs and longer steps,
# and comes to nearly the same losses at the first size. For the book's own run, set `FAITHFUL = True`; the cell says
# how long that will take.

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
# While it trains, `Live` draws the composite and its losses, again and again in the same place. Watch where the style
# sets in first, and what the curves do where the learning rate falls.

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
# Strokes have a size in pixels, and the network sees only so many at once. If the picture is large from the start, the
# strokes come out too small for it, and every epoch takes four times as long. So the first edition trains a small
# picture, enlarges it, and trains the larger one from there: the small one decides what goes where, the large one adds
# what is too fine for the small one. Its features are extracted anew, as they belong to the size.

# %%
image_shape = (450, 300)
_, contents_Y = nst.get_contents(content_img, image_shape, device, net)
_, styles_Y = nst.get_styles(style_img, image_shape, device, net)
X = nst.preprocess(nst.read_image(small), image_shape).as_in_context(device)

lr, num_epochs, lr_decay_epoch = second.lr, second.epochs, second.lr_decay_epoch
output = nst.train(X, contents_Y, styles_Y, net, device, lr, num_epochs, lr_decay_epoch, observer=nst.observers.Live())
large = as_picture(output)

# %% [markdown]
# A part of both, each at the same scale:

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
# The learning rate and the size, epoch by epoch. At each size the steps begin long and end short; the larger picture
# begins with long ones anew.

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
# Programs have come a long way since the chapter was printed. The recipe `fine` keeps its plan (one network, three
# losses, from coarse to fine) and changes the parts: the style's statistics are means and covariances of more layers,
# their distance is that of two Gaussians, and L-BFGS takes the steps in place of Adam. It is what `gluon-nst render`
# does unless it is told otherwise, and one call; here at a small size, and with fewer epochs than it would take by
# itself. The curves jump where the larger size begins. The last line is the `Result`, which shows its picture.

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
# - The composite's pixels are what is trained; the network stays as it is.
# - The content loss compares features place by place, the style loss compares Gram matrices, in which there is no place
#   any more, and the total variation loss keeps noise down.
# - Their weights decide what the picture becomes.
# - From coarse to fine gives larger pictures sooner, and strokes of a good size.
#
# ## Exercises
#
# `gluon-nst notebook exercises` has the chapter's three and six of ours, each with a check. Or go on here:
#
# 1. Set the style weight in
#    `nst.transfer(content_path, style_path, recipe="d2l-2019", sizes=[(150, 225)], epochs=100, style_weight=1e4)`.
# 2. Start the composite from noise: `init="noise"`.
# 3. Take pictures of your own: any path in place of `content_path` and `style_path`.
