"""What is measured: one weaver-kernel, deployed many ways."""
