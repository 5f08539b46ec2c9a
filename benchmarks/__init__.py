"""Timings against peers: `python -m benchmarks`.  Every peer runs in the same process on the same inputs."""
