"""Training: models that learn, and what they need: losses, metrics, optimisers, schedules, callbacks, one file each."""
