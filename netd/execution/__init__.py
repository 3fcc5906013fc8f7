"""How a service runs what it runs: threads that take connections and serve them."""
