"""Reports about recorded runs."""
