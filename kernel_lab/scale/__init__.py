"""What a deployment of any size does, simulated: `kernel-lab predict --workers 512 --replicas 40`."""
