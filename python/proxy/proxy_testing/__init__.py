"""What tests of the proxy's identity share: a server that answers byte by byte, a realm's keys, certificates."""
