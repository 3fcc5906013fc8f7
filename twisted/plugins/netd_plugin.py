"""The plugin of ``twistd netd``. twistd imports this for every command, so it imports nothing."""

import signal
import sys

from twisted.application.service import ServiceMaker

if "netd" in sys.argv[1:]:
    # A daemon that is still starting does not die of "reload"; makeService says the same again,
    # for twistd may have this module's contents from its cache.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

netd = ServiceMaker(
    "netd",
    "netd.tap",
    "Serve socketserver handlers from a configuration file.",
    "netd",
)
