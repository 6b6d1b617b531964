from .classification import score as score
from .classification import signature as signature
from .generation import Scorer as Scorer

__all__ = ["Scorer", "score", "signature"]
