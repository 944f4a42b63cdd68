"""Python sources, read by their syntax tree: the state that each process keeps or makes for itself."""
