"""The trust boundary on a real cluster: what is claimed of it, and how that is observed."""
