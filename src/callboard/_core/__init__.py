"""What knows no framework: dispatch, logs, monitors, the run. Standard library and NumPy only."""
