"""Simulate a deployment of any size: `kernel-lab predict --workers 512 --replicas 40`."""
