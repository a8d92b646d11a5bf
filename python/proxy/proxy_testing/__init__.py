"""What tests of the proxy share: proxies in the test's process, calls in memory or made byte by byte, stand-ins."""
