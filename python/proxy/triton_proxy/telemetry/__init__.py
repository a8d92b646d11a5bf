"""What is to be seen of calls from outside: the observer's interface, and the audit log behind it."""
