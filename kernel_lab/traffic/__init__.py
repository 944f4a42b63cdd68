"""Traffic: clients, the policies that choose a connection for each call, and the recording of calls."""
