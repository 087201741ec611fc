"""For `pytest --nbval`: matplotlib makes its cache here, so that it says nothing in a notebook.

Where HOME can't be written, it takes a temporary folder instead, and names that in the environment,
which the notebooks' kernels inherit.
"""

import matplotlib.font_manager  # noqa: F401
