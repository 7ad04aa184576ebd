"""Many machines: the workers of a Dask cluster, here or elsewhere, and one picture spread over them."""

from gluon_nst.cluster.pool import Crew
from gluon_nst.cluster.spread import Spread

__all__ = ["Crew", "Spread"]
