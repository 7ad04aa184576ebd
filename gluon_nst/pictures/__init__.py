"""Pictures: decoding, encoding, preprocessing, colours, masks and region maps."""

from gluon_nst.moved import forward

__getattr__ = forward(__name__, "gluon_nst.weights.pictures", "book_pictures", "own_pictures")
