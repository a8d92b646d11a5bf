"""What both clients share: values, packets, rules and bookkeeping. Nothing here opens a connection or waits for one."""
