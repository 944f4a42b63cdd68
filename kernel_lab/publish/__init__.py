"""Publishing: the report page, its charts, the figures of the docs, and runs packed for git."""
