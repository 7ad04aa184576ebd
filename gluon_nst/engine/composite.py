"""The composite as a Block's parameter, and the start of training (14.12.6)."""

from __future__ import annotations

from typing import Any, Sequence

from mxnet import gluon, init
from mxnet.gluon import nn

from gluon_nst.losses.chapter import gram
from gluon_nst.machine import nd_mode
from gluon_nst.typing import NDArray


class GeneratedImage(nn.Block):
    """A Block whose only parameter, `weight`, is the composite image.

    Calling it returns the image. `img_shape` is (1, 3, height, width).
    """

    def __init__(self, img_shape: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = self.params.get("weight", shape=img_shape)

    @nd_mode
    def initialize(self, *args: Any, **kwargs: Any) -> None:
        super().initialize(*args, **kwargs)

    @nd_mode
    def forward(self) -> NDArray:
        return self.weight.data()


@nd_mode
def get_inits(
    X: NDArray, device: Any, lr: float, styles_Y: Sequence[NDArray], beta2: float = 0.999
) -> tuple[NDArray, list[NDArray], gluon.Trainer]:
    """Return the composite, the style layers' Gram matrices, and the Trainer.

    The composite starts as a copy of `X` (1 × 3 × h × w); it is the NDArray that the Trainer (Adam with learning rate
    `lr`) updates in place. `beta2` is the decay of Adam's second moment.
    """
    gen_img = GeneratedImage(X.shape)
    gen_img.initialize(init.Constant(X), ctx=device, force_reinit=True)
    trainer = gluon.Trainer(gen_img.collect_params(), "adam", {"learning_rate": lr, "beta2": beta2})
    styles_Y_gram = [gram(Y) for Y in styles_Y]
    return gen_img(), styles_Y_gram, trainer
