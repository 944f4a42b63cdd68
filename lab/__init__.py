"""The app that the lab measures: one weaver-kernel, deployed in many ways."""
