# %% [markdown]
# # Neural Style Transfer: Exercises
#
# Three exercises of the chapter's and six of ours. Each has a question, a cell for your answer, and a check. The check
# says how far you are right, and what to look at next; it passes when it ends without an error. Run a cell with Shift
# and Enter, change your answer, and run it and its check again, as often as you like.
#
# Run this cell first, and again whenever you have started the notebook anew.

# %%
import gluon_nst as nst  # before mxnet, which it tells of this machine's cores
from gluon_nst.lab import checks
from gluon_nst.lab.checks import FROM_NOISE, SMALL, distance

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

content, style = nst.pictures.own_pictures()
photograph = Image.open(content)
print("every run below is", SMALL)


def show(results):
    """The pictures of several Results side by side, each under its name."""
    _, places = plt.subplots(1, len(results), figsize=(3.2 * len(results), 2.6), squeeze=False)
    for place, (name, result) in zip(places[0], results.items()):
        place.imshow(result.image)
        place.set_title(name, fontsize=10)
        place.axis("off")
    plt.show()


# %% [markdown]
# A run is one call. It takes the two pictures, what all runs here have in common (`**SMALL`), and what is to be
# different; it gives a `Result`, which has the picture (`result.image`), the losses of each epoch (`result.losses`),
# and what was computed (`result.recipe`). `distance(result)` is the mean squared difference of its picture and the
# photograph.

# %%
result = nst.transfer(content, style, **SMALL)
print(
    result.losses[-1].losses.total,
    "is the total loss at the end,",
    distance(result),
    "the distance from the photograph",
)
show({"as it is": result})

# %% [markdown]
# ## 1. Layers
#
# *How does the output change when you select different content and style layers?* (the chapter's)
#
# *Content.* Begin with noise, and leave nothing but the content loss: `**FROM_NOISE` in place of `**SMALL` does that.
# Run it once for each layer in `checks.CONTENT_CHOICES`, with that layer alone: `content_layers=["conv1_1"]` and so on.
# What comes out is what the layer still knows of the photograph.
#
# *Style.* Then, with `**SMALL`, run it once for each layer in `checks.STYLE_CHOICES`, a dictionary of layers and of the
# style weight to give each, which makes up for how small its loss is:
# `style_layers=["conv1_1"], style_weight=checks.STYLE_CHOICES["conv1_1"]` and so on.
#
# Keep the results in two dictionaries by the layer's name, look at them, and measure `distance` for each:
#
# - `nearest`: from which content layer does the picture come out nearest to the photograph?
# - `farthest`: with which style layer does it come out farthest from it?

# %% tags=["answer"]
by_content = {}  # the layer's name: its Result
by_style = {}
nearest, farthest = None, None
### BEGIN SOLUTION
for layer in checks.CONTENT_CHOICES:
    by_content[layer] = nst.transfer(content, style, **FROM_NOISE, content_layers=[layer])
for layer, weight in checks.STYLE_CHOICES.items():
    by_style[layer] = nst.transfer(content, style, **SMALL, style_layers=[layer], style_weight=weight)
show(by_content)
show(by_style)
nearest = min(by_content, key=lambda layer: distance(by_content[layer]))
farthest = max(by_style, key=lambda layer: distance(by_style[layer]))
### END SOLUTION

# %% tags=["check"]
checks.exercise_1(by_content, by_style, nearest, farthest)

# %% [markdown]
# ## 2. Weights
#
# *Adjust the weight hyperparameters in the loss function. Does the output retain more content or have less noise?* (the
# chapter's)
#
# The weights are `content_weight`, `style_weight` and `tv_weight`; of these runs they are 1, 1000 and 10. Find some
# with which the picture keeps clearly more of the photograph, and others with which it has clearly less noise, both
# still in the painting's style. Change nothing else.

# %% tags=["answer"]
results = {"as it is": None, "more content": None, "less noise": None}
### BEGIN SOLUTION
results["as it is"] = nst.transfer(content, style, **SMALL)
results["more content"] = nst.transfer(content, style, **SMALL, content_weight=30)
results["less noise"] = nst.transfer(content, style, **SMALL, tv_weight=50)
show(results)
### END SOLUTION

# %% tags=["check"]
checks.exercise_2(results)

# %% [markdown]
# ## 3. Other Pictures
#
# *Use different content and style images. Can you create more interesting synthesized images?* (the chapter's)
#
# Take two pictures of your own: paths of files, or PIL images that you have painted here. Then transfer the style of
# the one to the other.

# %% tags=["answer"]
my_content, my_style = None, None
my_result = None
### BEGIN SOLUTION
y, x = np.mgrid[:96, :144]
waves = np.sin(x / 4 + 2 * np.sin(y / 9))
my_style = Image.fromarray(np.uint8(127 + 120 * np.stack([waves, waves**3, -waves], axis=-1)))
disc = (x - 72) ** 2 + (y - 48) ** 2 < 35**2
my_content = Image.fromarray(
    np.uint8(np.where(disc[..., None], [240, 200, 60], np.stack([y, y + 60, 250 - y], axis=-1)))
)
my_result = nst.transfer(my_content, my_style, **SMALL)
show({"mine": my_result})
### END SOLUTION

# %% tags=["check"]
checks.exercise_3(my_content, my_style, my_result)

# %% [markdown]
# ## 4. Weights by Hand
#
# Write the chapter's total loss as a function of numbers: the content losses (a list, one for each layer), the style
# losses (a list), the total variation loss, none of them weighted yet, and the three weights.
#
# Then turn it around. The three losses are `content_l`, `style_l` and `tv_l`, of which the first and the last are
# weighted already. How large must the style's weight be for the weighted style loss to make up the share `share` of the
# total, say 0.5 for a half?


# %% tags=["answer"]
def total_loss(contents_l, styles_l, tv_l, content_weight, style_weight, tv_weight):
    """The weighted sum."""
    ### BEGIN SOLUTION
    return content_weight * sum(contents_l) + style_weight * sum(styles_l) + tv_weight * tv_l
    ### END SOLUTION


def style_weight_for(share, content_l, style_l, tv_l):
    """The weight that gives the style so large a share."""
    ### BEGIN SOLUTION
    return share * (content_l + tv_l) / ((1 - share) * style_l)
    ### END SOLUTION


# %% tags=["check"]
checks.exercise_4(total_loss, style_weight_for)

# %% [markdown]
# ## 5. Layers by Hand
#
# How many pixels across does one position of a layer see? VGG-19 has blocks of 2, 2, 4, 4 and 4 convolutions of 3 × 3;
# between two blocks is a pooling of 2 × 2 with a stride of 2. A position of `conv1_1` sees 3 pixels across, one of
# `conv1_2` 5: each of the three that it is made of sees 3, and they are one pixel apart.
#
# Write it for every layer, from `"conv1_1"` to `"conv5_4"`.


# %% tags=["answer"]
def receptive_field(name):
    """The number of pixels, across, that a position of the convolution `name` sees."""
    ### BEGIN SOLUTION
    sees, apart = 1, 1
    for block, convolutions in enumerate((2, 2, 4, 4, 4), start=1):
        for number in range(1, convolutions + 1):
            sees += 2 * apart
            if name == f"conv{block}_{number}":
                return sees
        sees, apart = sees + apart, 2 * apart
    ### END SOLUTION


# %% tags=["check"]
checks.exercise_5(receptive_field)

# %% [markdown]
# ## 6. The Gram Matrix by Hand
#
# Write the Gram matrix of a feature map `X` of the shape 1 × c × h × w, without `nst.gram`: a c × c array, divided by
# c·h·w. `X` is an array of MXNet's; `X.asnumpy()` gives it to NumPy, if you would rather.


# %% tags=["answer"]
def my_gram(X):
    """The Gram matrix of X, c × c."""
    ### BEGIN SOLUTION
    _, c, h, w = X.shape
    rows = X.asnumpy().reshape(c, h * w)
    return rows @ rows.T / (c * h * w)
    ### END SOLUTION


# %% tags=["check"]
checks.exercise_6(my_gram)

# %% [markdown]
# ## 7. Total Variation by Hand
#
# Write the total variation loss of a picture `X` of the shape 1 × 3 × h × w, without `nst.tv_loss`: half of the sum of
# the mean absolute difference of neighbours downwards and that of neighbours across.


# %% tags=["answer"]
def my_tv(X):
    """The total variation loss of X, a number."""
    ### BEGIN SOLUTION
    X = X.asnumpy()
    return 0.5 * (np.abs(X[:, :, 1:] - X[:, :, :-1]).mean() + np.abs(X[:, :, :, 1:] - X[:, :, :, :-1]).mean())
    ### END SOLUTION


# %% tags=["check"]
checks.exercise_7(my_tv)

# %% [markdown]
# ## 8. L-BFGS against Adam
#
# The chapter takes its steps by Adam. `SMALL` takes them by L-BFGS, which remembers how the gradient changed over the
# last steps, and so knows something of the curvature. Run both for 60 epochs: `{**SMALL, "epochs": 60}`, once with
# `optimizer="adam"` and once with `optimizer="lbfgs"`.
#
# Then write a function that says after how many epochs, counted from 1, a list of losses is for the first time at or
# below a loss. With it, `speedup`: the epochs that Adam takes to the lowest of its own losses, divided by those that
# L-BFGS takes to that same loss.

# %% tags=["answer"]
adam, lbfgs = None, None
speedup = None


def epochs_to_reach(losses, loss):
    """The number of epochs until one of `losses`, a list, is no higher than `loss`."""
    ### BEGIN SOLUTION
    return next(number for number, each in enumerate(losses, start=1) if each <= loss)
    ### END SOLUTION


### BEGIN SOLUTION
longer = {**SMALL, "epochs": 60}
adam = nst.transfer(content, style, **longer, optimizer="adam")
lbfgs = nst.transfer(content, style, **longer, optimizer="lbfgs")
totals = [[epoch.losses.total for epoch in result.losses] for result in (adam, lbfgs)]
plt.semilogy(totals[0], label="Adam")
plt.semilogy(totals[1], label="L-BFGS")
plt.xlabel("epoch")
plt.ylabel("total loss")
plt.legend()
plt.show()
lowest = min(totals[0])
speedup = epochs_to_reach(totals[0], lowest) / epochs_to_reach(totals[1], lowest)
### END SOLUTION

# %% tags=["check"]
checks.exercise_8(adam, lbfgs, epochs_to_reach, speedup)

# %% [markdown]
# ## 9. A Region
#
# A mask is a picture of the content picture's size: where it is white the composite is painted, where it is black the
# photograph stays. Make one whose upper half is black and whose lower half is white:
# `Image.new("L", (width, height), 0)` is a black one, and `mask.paste(255, (left, top, right, bottom))` paints a part
# of it white. Then run it with `mask=mask`.

# %% tags=["answer"]
mask = None
result = None
### BEGIN SOLUTION
width, height = photograph.size
mask = Image.new("L", (width, height), 0)
mask.paste(255, (0, height // 2, width, height))
result = nst.transfer(content, style, **SMALL, mask=mask)
show({"the lower half": result})
### END SOLUTION

# %% tags=["check"]
checks.exercise_9(mask, result)
