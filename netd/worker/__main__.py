"""The program of netd's own processes: ``forkserver``, which becomes workers, or ``probe``.

It is started by its path and with ``-P``, so that neither the current directory nor this one is on
``sys.path``: a file ``queue.py`` there would be found before Python's own.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys

if importlib.util.find_spec("netd") is None:
    # twistd runs from a checkout that is on its path, but not on this one's. At the end of the
    # path, so that the checkout's other modules hide nothing.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

# Imports make many objects and drop hardly any: collecting meanwhile is a fifth of their time.
gc.disable()

if sys.argv[1:] == ["probe"]:
    from netd.worker.probe.main import main
else:
    from netd.worker.forkserver import main

if __name__ == "__main__":
    gc.enable()
    main()
