"""Ten computer-vision papers (CVPR 2024) as living pipelines."""

from tenfold.core.frozen import freeze

__version__ = "0.1.0"

# the code that a run records is the code that it runs, whatever is edited meanwhile
freeze(__name__)
