"""Nurt: the current of change streams, folded into live customer profiles and stock."""

import os

from nurt.kernel_cache import follow_sources

__version__ = "0.1.0"

# Read by these libraries when they are loaded; what the environment says already counts more.
os.environ.setdefault("POLARS_MAX_THREADS", "1")  # frames are small: handing them to threads costs a third of all time
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # one heap instead of two: 30 MB less

follow_sources()
