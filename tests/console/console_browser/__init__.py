"""Drives headless Chromium by its DevTools protocol, for the test of the console's pages."""
