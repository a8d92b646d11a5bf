"""What any server of ours is made with.

`settings` reads one table of variables, whose texts `parse` understands; `tls` has certificates and `watched_file` what
follows its files; `policy_file` follows policies, whose texts `policy_yaml` reads and whose wildcards `globs` matches;
`line_sink` writes lines that are worth keeping, `bounded_cache` forgets, and `supervisor` ends the process. Nothing
here knows a protocol or what the server is for.
"""
