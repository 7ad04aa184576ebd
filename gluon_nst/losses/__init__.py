"""Losses: reductions over positions, style statistics, the chapter's functions."""

from gluon_nst.moved import forward

__getattr__ = forward(
    __name__, "gluon_nst.losses.chapter", "add_up", "compute_loss", "content_loss", "gram", "style_loss", "tv_loss"
)
