"""Inputs of all kinds for a proxy that runs, and what it must do with each."""
