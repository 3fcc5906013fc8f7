"""The plugin of ``twistd netd``. twistd imports this for every command, so it imports nothing."""

from twisted.application.service import ServiceMaker

netd = ServiceMaker(
    "netd",
    "netd.tap",
    "Serve socketserver handlers from a configuration file.",
    "netd",
)
