"""Services that are not the lab's: how to start them, how to send requests to them, and what they promise.

An `App` says which operations a service has. It is written as a TOML file (`mapping`) or as a few lines of
Python (`adapter`). `drives` sends the traffic for each claim, `run` writes the same run folder as any other
run.
"""
