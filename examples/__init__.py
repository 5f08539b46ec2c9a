"""Scripts and experiments around tenun; not part of the wheel."""
