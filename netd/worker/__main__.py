"""The program of a worker process; with ``probe`` as its argument, of a probe.

Started by its path and with ``-P``, so that neither the current directory nor this one is on
``sys.path``: a file called ``queue.py`` there would be found before Python's own.
"""

from __future__ import annotations

import importlib.util
import os
import sys

if importlib.util.find_spec("netd") is None:
    # twistd was started from a checkout, with that on its path: find what it found, last.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

if sys.argv[1:2] == ["probe"]:
    from netd.worker.probe import main
else:
    from netd.worker.process import main

if __name__ == "__main__":
    main()
