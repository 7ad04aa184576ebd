"""Many machines: the workers of a Dask cluster, here or elsewhere, and one picture spread over them."""

from gluon_nst.cluster.crew import Crew
from gluon_nst.cluster.spread import Spread

__all__ = ["Crew", "Spread"]
