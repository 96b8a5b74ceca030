"""Models in files: formats that know arrays and names, and no framework."""
