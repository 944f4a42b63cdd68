"""What runs in the processes of the load generator: calls, when they start, their connections and clocks."""
