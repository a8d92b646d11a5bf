"""HTTP/1.1's server on asyncio, parsed by llhttp (`httptools`), with a bound for each thing a peer can do.

Knows nothing of what is served. Everything happens in one loop's thread.
"""
