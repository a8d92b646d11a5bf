"""The version of everything that is released from this repository."""

VERSION = "0.1.0"
