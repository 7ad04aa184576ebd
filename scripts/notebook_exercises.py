# %% [markdown]
# # Neural Style Transfer: Exercises
#
# Nine exercises; the first three are from the chapter. Each has a question, a cell for your answer, and a check. The
# check lists the parts of your answer that are right, and gives a hint for the first one that is not; it passes if it
# ends without an error. Run a cell with Shift-Enter, change your answer, and run the cell and the check again, as often
# as you like.
#
# Run the next cell first, and again after a restart of the kernel.

# %%
import gluon_nst as nst  # before mxnet, whose number of threads it sets
from gluon_nst.lab import checks
from gluon_nst.lab.checks import FROM_NOISE, SMALL, distance

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

content, style = nst.pictures.own_pictures()
photograph = Image.open(content)
print("every run below is", SMALL)


def show(results):
    """Draw the pictures of several Results, a dictionary, side by side with their names."""
    _, places = plt.subplots(1, len(results), figsize=(3.2 * len(results), 2.6), squeeze=False)
    for place, (name, result) in zip(places[0], results.items()):
        place.imshow(result.image)
        place.set_title(name, fontsize=10)
        place.axis("off")
    plt.show()


# %% [markdown]
# A run is one call. Its arguments are the two pictures, the settings that all runs here share (`**SMALL`), and the
# settings that you vary. It returns a `Result` with the picture (`result.image`), the losses of each epoch
# (`result.losses`) and all settings (`result.recipe`). `distance(result)` is the mean squared difference between its
# picture and the photograph.

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
# *How does the output change when you select different content and style layers?* (from the chapter)
#
# *Content.* Start from noise and use only the content loss: write `**FROM_NOISE` instead of `**SMALL`. Make one run for
# each layer in `checks.CONTENT_CHOICES`, with only that layer: `content_layers=["conv1_1"]` and so on. The resulting
# picture shows what the layer preserves of the photograph.
#
# *Style.* Then, with `**SMALL`, make one run for each layer in `checks.STYLE_CHOICES`. It is a dictionary {layer: style
# weight}; the weights compensate for the different sizes of the losses:
# `style_layers=["conv1_1"], style_weight=checks.STYLE_CHOICES["conv1_1"]` and so on.
#
# Store the results in two dictionaries {layer: Result}, look at the pictures, and compute the `distance` of each:
#
# - `nearest`: which content layer gives the picture with the smallest distance from the photograph?
# - `farthest`: which style layer gives the picture with the largest distance from the photograph?

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
# *Adjust the weight hyperparameters in the loss function. Does the output retain more content or have less noise?*
# (from the chapter)
#
# The weights are `content_weight`, `style_weight` and `tv_weight`; the defaults of these runs are 1, 1000 and 10. Find
# weights that keep clearly more of the photograph, and others that give clearly less noise, both still in the style of
# the painting. Change nothing else.

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
# *Use different content and style images. Can you create more interesting synthesized images?* (from the chapter)
#
# Use two pictures of your own: paths of files, or PIL images that you create here. Transfer the style of one to the
# other.

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
# losses (a list) and the total variation loss, all unweighted, and the three weights.
#
# Then solve for a weight. `content_l` and `tv_l` are weighted losses, and `style_l` is not weighted. Which style weight
# makes the weighted style loss a fraction `share` of the total loss, for example 0.5?


# %% tags=["answer"]
def total_loss(contents_l, styles_l, tv_l, content_weight, style_weight, tv_weight):
    """Return the weighted sum of the losses."""
    ### BEGIN SOLUTION
    return content_weight * sum(contents_l) + style_weight * sum(styles_l) + tv_weight * tv_l
    ### END SOLUTION


def style_weight_for(share, content_l, style_l, tv_l):
    """Return the style weight for which the style loss is this share of the total loss."""
    ### BEGIN SOLUTION
    return share * (content_l + tv_l) / ((1 - share) * style_l)
    ### END SOLUTION


# %% tags=["check"]
checks.exercise_4(total_loss, style_weight_for)

# %% [markdown]
# ## 5. Layers by Hand
#
# What is the receptive field of a layer: the width, in pixels, of the part of the picture that affects one position?
# VGG-19 has blocks of 2, 2, 4, 4 and 4 convolutions of 3 × 3, with a pooling of 2 × 2 and stride 2 between blocks. The
# receptive field of `conv1_1` is 3 pixels, that of `conv1_2` is 5: it combines three positions of `conv1_1` that are
# one pixel apart.
#
# Write a function that returns it for every layer, from `"conv1_1"` to `"conv5_4"`.


# %% tags=["answer"]
def receptive_field(name):
    """Return the width of the receptive field of the convolution `name`, in pixels."""
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
# Compute the Gram matrix of a feature map `X` of shape 1 × c × h × w without `nst.gram`: a c × c array, divided by
# c·h·w. `X` is an MXNet array; `X.asnumpy()` converts it to NumPy, if you prefer.


# %% tags=["answer"]
def my_gram(X):
    """Return the Gram matrix of X, c × c."""
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
# Compute the total variation loss of a picture `X` of shape 1 × 3 × h × w without `nst.tv_loss`: half the sum of the
# mean absolute difference of vertical neighbours and that of horizontal neighbours.


# %% tags=["answer"]
def my_tv(X):
    """Return the total variation loss of X, a number."""
    ### BEGIN SOLUTION
    X = X.asnumpy()
    return 0.5 * (np.abs(X[:, :, 1:] - X[:, :, :-1]).mean() + np.abs(X[:, :, :, 1:] - X[:, :, :, :-1]).mean())
    ### END SOLUTION


# %% tags=["check"]
checks.exercise_7(my_tv)

# %% [markdown]
# ## 8. L-BFGS against Adam
#
# The chapter uses the optimiser Adam. `SMALL` uses L-BFGS, which approximates the curvature of the loss from the
# gradient differences of the last steps. Run both for 60 epochs: `{**SMALL, "epochs": 60}`, once with
# `optimizer="adam"` and once with `optimizer="lbfgs"`.
#
# Then write a function that returns the first epoch, counted from 1, at which a list of losses is at or below a given
# loss. Use it to compute `speedup`: the epochs that Adam takes to its lowest loss, divided by those that L-BFGS takes
# to the same loss.

# %% tags=["answer"]
adam, lbfgs = None, None
speedup = None


def epochs_to_reach(losses, loss):
    """Return the number of epochs until one of `losses`, a list, is at or below `loss`."""
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
# A mask is a picture of the size of the content picture: white areas are painted, black areas keep the photograph.
# Create a mask whose upper half is black and whose lower half is white: `Image.new("L", (width, height), 0)` creates a
# black one, and `mask.paste(255, (left, top, right, bottom))` makes a rectangle white. Then make a run with
# `mask=mask`.

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
