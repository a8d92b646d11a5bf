"""Calls under way, whatever transport brings them and whatever protocol they speak."""
