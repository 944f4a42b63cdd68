"""The code of the load generator's processes: calls, the times at which they start, their connections and clocks."""
