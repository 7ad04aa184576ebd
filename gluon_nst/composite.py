"""The composite image as a Block's only parameter, and what a training run starts from (section 14.12.6)."""

from mxnet import gluon, init
from mxnet.gluon import nn

from gluon_nst.losses import gram
from gluon_nst.runtime import nd_mode


class GeneratedImage(nn.Block):
    """A Block whose only parameter, `weight`, is the composite image; calling it returns the image.

    `img_shape` is (1, 3, height, width).
    """

    def __init__(self, img_shape, **kwargs):
        super().__init__(**kwargs)
        self.weight = self.params.get("weight", shape=img_shape)

    @nd_mode
    def initialize(self, *args, **kwargs):
        super().initialize(*args, **kwargs)

    @nd_mode
    def forward(self):
        return self.weight.data()


@nd_mode
def get_inits(X, device, lr, styles_Y, gram_divisor="chw"):
    """The composite that starts as a copy of `X` (1 × 3 × h × w), the style layers' Gram matrices, and the Trainer.

    The composite is returned as the NDArray that the Trainer (Adam with learning rate `lr`) updates in place.
    `gram_divisor` is as in `gram`.
    """
    gen_img = GeneratedImage(X.shape)
    gen_img.initialize(init.Constant(X), ctx=device, force_reinit=True)
    trainer = gluon.Trainer(gen_img.collect_params(), "adam", {"learning_rate": lr})
    styles_Y_gram = [gram(Y, gram_divisor) for Y in styles_Y]
    return gen_img(), styles_Y_gram, trainer
