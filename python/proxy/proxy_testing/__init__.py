"""What tests of the proxy share: whole proxies, a Triton that takes its time, calls made byte by byte."""
