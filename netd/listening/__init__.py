"""From the text of a ``listen`` key to a bound socket."""
