"""What both clients share: values, packets, rules and bookkeeping. Nothing here opens a connection to the proxy."""
