"""The contributions to the project under test: a patch series, its check, and which release changed what."""
