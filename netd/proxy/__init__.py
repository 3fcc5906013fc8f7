"""The PROXY protocol, versions 1 and 2: headers of connections and of datagrams. Pure code."""
