"""Records of a run: its status, the losses by name, and one record for each epoch."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import TYPE_CHECKING, Iterator, Mapping, NamedTuple, Tuple

if TYPE_CHECKING:
    import pandas


class Status(str, Enum):
    """The status of a run.

    A member is equal to its text, and is printed as that text.

    >>> Status.COMPLETE == "complete", f"{Status.OUT_OF_MEMORY}", Status.SETTLED
    (True, 'out of memory', 'settled')
    """

    RUNNING = "running"
    """The run has not finished."""
    COMPLETE = "complete"
    SETTLED = "settled"
    """The loss of the last stage converged before its last epoch."""
    INTERRUPTED = "interrupted"
    """The run of this Result was stopped between two epochs."""
    DIVERGED = "diverged"
    """The loss is not finite."""
    OUT_OF_MEMORY = "out of memory"
    FAILED = "failed"
    """MXNet or the disk failed."""

    __str__ = str.__str__
    __repr__ = str.__repr__


FINISHED = (Status.COMPLETE, Status.SETTLED)
"""The statuses of a finished run."""


@dataclasses.dataclass(eq=False, repr=False)
class Losses(Mapping[str, float]):
    """The weighted losses of a composite by name.

    The names are `content/conv4_4`, `style/conv1_1`, `tv`. `total` is the sum, computed in single precision.

    >>> losses = Losses({"content/conv4_4": 1.0, "style/conv1_1": 2.0, "style/conv2_1": 3.0, "tv": 0.5}, total=6.5)
    >>> losses["style/conv1_1"], losses.style, losses.total
    (2.0, 5.0, 6.5)
    >>> losses.of("style")
    {'conv1_1': 2.0, 'conv2_1': 3.0}
    """

    terms: Mapping[str, float]
    total: float

    def __getitem__(self, name: str) -> float:
        return self.terms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.terms)

    def __len__(self) -> int:
        return len(self.terms)

    def __repr__(self) -> str:
        return f"Losses({self.terms}, total={self.total})"

    def of(self, kind: str) -> dict[str, float]:
        """Return the losses of a `kind`, content or style, by layer."""
        return {name[len(kind) + 1 :]: loss for name, loss in self.items() if name.startswith(f"{kind}/")}

    @property
    def content(self) -> float:
        """The sum over the content layers."""
        return sum(self.of("content").values())

    @property
    def style(self) -> float:
        """The sum over the style layers."""
        return sum(self.of("style").values())

    @property
    def tv(self) -> float:
        """The total variation loss."""
        return self.terms.get("tv", 0.0)


class Epoch(NamedTuple):
    """The record of an epoch: losses before its step, learning rate, duration.

    An epoch of L-BFGS is one evaluation of the losses and their gradient; it has no learning rate, and `lr` is 1.
    `stage` counts from 1, `epoch` from 0 in each stage; `seconds` is the time since the record of the previous epoch.
    """

    stage: int
    epoch: int
    losses: Losses
    lr: float
    seconds: float


COLUMNS = ("stage", "epoch", "content", "style", "tv", "total", "lr", "seconds")
"""The columns of a losses file, and the first ones of `History.to_pandas`."""


class History(Tuple[Epoch, ...]):
    """The Epochs of a run, stage after stage: a tuple."""

    def __repr__(self) -> str:
        if not self:
            return "<History: no epochs>"
        first, last = self[0].losses.total, self[-1].losses.total
        return f"<History: {len(self)} epochs, total loss {first:.4g} to {last:.4g}>"

    def rows(self) -> Iterator[tuple[float, ...]]:
        """Yield the values of the COLUMNS for each epoch."""
        for stage, epoch, losses, lr, seconds in self:
            yield stage, epoch, losses.content, losses.style, losses.tv, losses.total, lr, seconds

    def to_pandas(self) -> pandas.DataFrame:
        """Return a pandas.DataFrame with a row for each epoch.

        Its columns are the COLUMNS, then the losses by layer (`style/conv1_1`).
        """
        import pandas

        table = pandas.DataFrame(list(self.rows()), columns=list(COLUMNS))
        terms = pandas.DataFrame([dict(epoch.losses) for epoch in self], index=table.index)
        return table.join(terms.drop(columns="tv", errors="ignore"))
