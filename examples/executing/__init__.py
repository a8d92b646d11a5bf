"""Executes the notebooks: servers for them, a virtual environment with the built wheels, and a kernel for each."""
